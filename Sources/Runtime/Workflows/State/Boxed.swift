/// A value in storage of its own, which copies share until one of them is changed.
struct Boxed<Value: Sendable>: @unchecked Sendable {
    // @unchecked Sendable: only who is the storage's one owner changes it.
    private final class Storage {
        var value: Value
        init(_ value: Value) { self.value = value }
    }

    private var storage: Storage

    init(_ value: Value) { storage = Storage(value) }

    var value: Value {
        get { storage.value }
        _modify {
            if !isKnownUniquelyReferenced(&storage) { storage = Storage(storage.value) }
            yield &storage.value
        }
    }
}

/// A property that is nil for nearly all values of its type: nil takes one word, and what there is has storage of its own.
@propertyWrapper
struct Sparse<Value: Sendable>: Sendable {
    private var box: Boxed<Value?>?

    init() {}

    init(wrappedValue: Value?) { box = wrappedValue.map { Boxed($0) } }

    var wrappedValue: Value? {
        get { box?.value }
        _modify {
            // In its place: a copy held meanwhile would make a change copy all that the value holds.
            if box == nil { box = Boxed(nil) }
            defer { if box?.value == nil { box = nil } }
            yield &box!.value
        }
    }
}
