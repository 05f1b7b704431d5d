import FlotillaIO

/// Values that promises have registered, in the order of their coming: what is done with all of them is done in the same
/// order in every process, as a simulation needs it.
struct Registrations<Value: Sendable>: Sendable {
    private var members: [ObjectIdentifier: (number: UInt64, value: Value)] = [:]
    private var lastNumber: UInt64 = 0

    var isEmpty: Bool { members.isEmpty }
    var count: Int { members.count }

    /// The first first.
    var values: [Value] {
        members.count < 2
            ? members.values.map(\.value) : members.values.sorted { $0.number < $1.number }.map(\.value)
    }

    mutating func add(_ value: Value, of promise: Promise<some Sendable>) {
        lastNumber += 1
        members[promise.id] = (lastNumber, value)
    }

    mutating func remove(_ promise: Promise<some Sendable>) { members[promise.id] = nil }
}
