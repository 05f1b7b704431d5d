/// A register: read, written, and written where it holds what is expected.
package enum RegisterModel: SequentialModel {
    package enum Operation: Hashable, Sendable {
        /// With the value that was read.
        case read(UInt64)
        case write(UInt64)
        /// With the value that it found; nil where the answer is not known. It writes where that is `expected`.
        case compareAndSet(expected: UInt64, new: UInt64, found: UInt64?)
    }

    package static let initial: UInt64 = 0

    package static func apply(_ operation: Operation, to value: UInt64) -> UInt64? {
        switch operation {
        case .read(let seen): seen == value ? value : nil
        case .write(let new): new
        case .compareAndSet(let expected, let new, let found):
            found.map { $0 == value } ?? true ? (value == expected ? new : value) : nil
        }
    }

    /// Leaves out the operations of unknown outcome that can be taken for not having happened: nobody has seen their
    /// values. That is what keeps the search short. Values must be unique.
    package static func relevant(_ history: [HistoryOperation<Operation>]) -> [HistoryOperation<Operation>] {
        var seen: Set<UInt64> = []
        for item in history {
            switch item.operation {
            case .read(let value): seen.insert(value)
            case .write: break
            case .compareAndSet(_, _, let found): if let found { seen.insert(found) }
            }
        }
        // One whose value was not seen may have made way for another of unknown outcome, by being what that expected;
        // but then that other one's value was seen, and somebody must have written what it expected.
        var count = 0
        while seen.count > count {
            count = seen.count
            for case .compareAndSet(let expected, let new, nil) in history.map(\.operation) where seen.contains(new) {
                seen.insert(expected)
            }
        }
        return history.filter { item in
            guard item.returned == nil else { return true }
            return switch item.operation {
            case .read: false
            case .write(let value), .compareAndSet(_, let value, _): seen.contains(value)
            }
        }
    }
}
