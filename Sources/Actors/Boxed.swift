/// A value in storage of its own, which copies share until one of them is changed.
package struct Boxed<Value> {
    @usableFromInline
    final class Storage {
        @usableFromInline
        var value: Value
        @inlinable
        init(_ value: Value) { self.value = value }
    }

    @usableFromInline
    var storage: Storage

    @inlinable
    package init(_ value: Value) { storage = Storage(value) }

    @inlinable
    package var value: Value {
        get { storage.value }
        _modify {
            if !isKnownUniquelyReferenced(&storage) { storage = Storage(storage.value) }
            yield &storage.value
        }
    }
}

// @unchecked Sendable: only who is the storage's one owner changes it.
extension Boxed: @unchecked Sendable where Value: Sendable {}
