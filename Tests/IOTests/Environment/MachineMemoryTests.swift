import FlotillaIO
import Testing

@Suite struct MachineMemoryTests {
    @Test("what the process takes grows with what it touches, and is less than there is")
    func used() {
        let before = MachineMemory.used()
        #expect(before > 1 << 20 && MachineMemory.available() ?? 0 > before)
        let size = 256 << 20
        let bytes = [UInt8](repeating: 1, count: size)
        // Tests beside this one free some, perhaps.
        #expect(MachineMemory.used() > before + size / 2)
        #expect(bytes.last == 1)
    }
}
