import FlotillaActors

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
