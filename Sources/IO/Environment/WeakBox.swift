/// A place for an object that is to be known before it exists, and that refers to whoever knows it. Any thread.
package final class WeakBox<Object: AnyObject & Sendable>: Sendable {
    private struct Reference {
        weak var object: Object?
    }
    private let reference = Lock(Reference())

    package init() {}

    /// Nil before `set(_:)`, and once nobody else holds the object.
    package var value: Object? { reference.withLock { $0.object } }

    package func set(_ object: Object) { reference.withLock { $0.object = object } }
}
