package import FlotillaActors
import FlotillaIO
package import FlotillaRaft

/// Registers by key, with a hash of everything that ever happened to them.
package final class RegisterMachine: StateMachine {
    package static let formatVersion: UInt32 = 1

    package enum Request: Hashable, Sendable {
        case write(key: UInt64, value: UInt64)
        case compareAndSet(key: UInt64, expected: UInt64, new: UInt64)

        package var operation: Operation {
            var writer = ProtobufWriter()
            switch self {
            case .write(let key, let value):
                writer.packed(1, [key, value])
                return Operation(type: 1, version: 1, body: writer.bytes)
            case .compareAndSet(let key, let expected, let new):
                writer.packed(1, [key, expected, new])
                return Operation(type: 2, version: 1, body: writer.bytes)
            }
        }

        init(_ operation: Operation) throws(ApplyError) {
            var numbers: [UInt64] = []
            do throws(WireError) {
                var reader = ProtobufReader(operation.body)
                while try reader.next() != nil { try reader.packed(into: &numbers) }
            } catch {
                throw ApplyError(.damagedCommand, error.description)
            }
            switch (operation.type, numbers.count) {
            case (1, 2): self = .write(key: numbers[0], value: numbers[1])
            case (2, 3): self = .compareAndSet(key: numbers[0], expected: numbers[1], new: numbers[2])
            default: throw ApplyError(.unknownCommand, "register operation \(operation.type)")
            }
        }
    }

    package struct State: SnapshotView {
        var values: [UInt64: UInt64] = [:]
        /// The values of all commands that were applied, in order.
        var applied: [UInt64] = []
        var hash: UInt64 = 0

        package func serialize() -> [UInt8] {
            var writer = ProtobufWriter()
            writer.packed(1, values.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] })
            writer.packed(2, applied)
            writer.packed(3, [hash])
            return writer.bytes
        }
    }

    private var state = State()
    /// Told the hash of the state with every index.
    private let didReach: (UInt64, LogIndex) -> Void

    package init(didReach: @escaping (UInt64, LogIndex) -> Void) { self.didReach = didReach }

    /// Zero where nothing was written.
    package subscript(key: UInt64) -> UInt64 { state.values[key] ?? 0 }
    package var applied: [UInt64] { state.applied }

    /// Answers the value that it found.
    package func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer {
        var found: UInt64 = 0
        for operation in command.operations {
            let request = try Request(operation)
            switch request {
            case .write(let key, let value):
                found = self[key]
                state.values[key] = value
                state.applied.append(value)
                note(key, value, found)
            case .compareAndSet(let key, let expected, let new):
                found = self[key]
                if found == expected { state.values[key] = new }
                state.applied.append(new)
                note(key, new, found)
            }
        }
        note(index.rawValue, UInt64(bitPattern: time), 0)
        didReach(state.hash, index)
        var writer = ProtobufWriter()
        writer.packed(1, [found])
        return Answer(body: writer.bytes)
    }

    /// A plain write is only its writer's business, as far as the group is concerned.
    package func isForOthers(_ operation: Operation) -> Bool { operation.type != 1 }

    private func note(_ words: UInt64...) {
        for word in words { state.hash = (state.hash ^ word) &* 0x9E37_79B9_7F4A_7C15 ^ state.hash >> 29 }
    }

    package static func value(in answer: Answer) throws -> UInt64 {
        var numbers: [UInt64] = []
        var reader = ProtobufReader(answer.body)
        while try reader.next() != nil { try reader.packed(into: &numbers) }
        guard let value = numbers.first else { throw ScenarioFailure("an answer without a value") }
        return value
    }

    package func didApplyBatch() {}
    package func snapshotView() -> any SnapshotView { state }

    package func restore(_ state: State) { self.state = state }

    package static func decode(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) -> State {
        do throws(WireError) {
            var reader = ProtobufReader(bytes)
            var restored = State()
            var pairs: [UInt64] = []
            var hash: [UInt64] = []
            while let field = try reader.next() {
                switch field {
                case 1: try reader.packed(into: &pairs)
                case 2: try reader.packed(into: &restored.applied)
                default: try reader.packed(into: &hash)
                }
            }
            for place in stride(from: 0, to: pairs.count, by: 2) { restored.values[pairs[place]] = pairs[place + 1] }
            restored.hash = hash.first ?? 0
            return restored
        } catch {
            throw ApplyError(.unknownFormat, error.description)
        }
    }
}
