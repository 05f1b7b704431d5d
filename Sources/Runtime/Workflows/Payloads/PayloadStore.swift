import FlotillaIO

/// Where what is too large for a record is kept, such as a bucket of an object store: every node reaches the same one.
/// See `NodeConfiguration.payloadStore`.
///
/// A step writes bytes there and returns what they are known by; another step, wherever it runs, reads them:
/// ```swift
/// let video = try await context.step("render") { step in try await step.store(render(order)) }
/// try await context.step("publish") { step in try await publish(step.load(video)) }
/// ```
/// Nothing is ever removed from it by this library: a rule of the store's own does that, after a time that exceeds the
/// life of the longest run and the retention of its history.
public protocol PayloadStore: Sendable {
    /// Returns when the bytes are as durable as the store makes them: from then on runs rely on them.
    /// - Parameter name: 64 hexadecimal digits. It follows from the bytes, so equal ones may be written twice, also at the
    ///   same time, and the second time may do nothing.
    func write(_ bytes: [UInt8], as name: String) async throws

    /// - Returns: nil where there is nothing of that name.
    func read(_ name: String) async throws -> [UInt8]?
}

/// Bytes in a `PayloadStore`, as results, inputs and messages carry them: small, whatever they are.
public struct StoredPayload: Codable, Hashable, Sendable {
    /// What the store knows them by: the SHA-256 of what is there.
    public let name: String
    /// Of the bytes as they were given.
    public let size: Int
    /// Whether codecs made what is there; see `NodeConfiguration.codec`.
    let isEncoded: Bool
}

extension PayloadCoding {
    /// Writes bytes to the store, by the codecs.
    func write(_ bytes: [UInt8]) async throws -> StoredPayload {
        let store = try knownStore
        let encoded = try encode(bytes)
        let name = "\(SHA256Digest(of: encoded))"
        try await store.write(encoded, as: name)
        return StoredPayload(name: name, size: bytes.count, isEncoded: encoded != bytes)
    }

    func read(_ stored: StoredPayload) async throws -> [UInt8] {
        guard let encoded = try await knownStore.read(stored.name) else {
            throw WorkflowError(.payloadUnavailable, "the payload store has no \(stored.name), of \(stored.size) bytes")
        }
        guard "\(SHA256Digest(of: encoded))" == stored.name else {
            throw WorkflowError(
                .payloadUnavailable,
                "the payload store gives other bytes for \(stored.name) than were written: \(encoded.count) of them")
        }
        return stored.isEncoded ? try decode(encoded) : encoded
    }

    private var knownStore: any PayloadStore {
        get throws(WorkflowError) {
            guard let store else {
                throw WorkflowError(
                    .payloadUnavailable, "this node has no payload store; set NodeConfiguration.payloadStore")
            }
            return store
        }
    }
}

extension StepContext {
    /// Keeps bytes in the node's `PayloadStore`, compressed and encrypted as `NodeConfiguration.codec` says.
    ///
    /// - Returns: what the step may return: any step of this and other workflows loads them by it.
    /// - Throws: what the store throws; `WorkflowError` with `payloadUnavailable` where the node has none.
    public func store(_ bytes: [UInt8]) async throws -> StoredPayload { try await payloads.write(bytes) }

    /// What was stored. Only in a step: what the store refuses today, a `RetryPolicy` asks for again.
    /// - Throws: what the store throws; `WorkflowError` with `payloadUnavailable` where the store does not have it, or has
    ///   something else.
    public func load(_ stored: StoredPayload) async throws -> [UInt8] { try await payloads.read(stored) }
}

extension Node {
    /// Keeps bytes in the node's `PayloadStore`, for an input or a message that names them.
    /// - Throws: as `StepContext.store`.
    public func store(_ bytes: [UInt8]) async throws -> StoredPayload { try await configuration.payloads.write(bytes) }

    /// What a step, or `store`, has stored.
    /// - Throws: as `StepContext.load`.
    public func load(_ stored: StoredPayload) async throws -> [UInt8] { try await configuration.payloads.read(stored) }
}
