import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What ties a run to others: who started it, its children, and what it has to tell others. A part of the run: it moves
/// with it. Times are the group's.
///
/// What a run tells others stands in its own record first; the group's leader brings it to whichever group has the other
/// run, and records the answer here, which ends it. So it may be brought twice, and whoever gets it drops repetitions:
/// a signal by its sender and number, a start by its parent, an end by the child that it is of.
struct RunTies: Sendable {
    /// Where a run was started from.
    struct Parent: Hashable, Codable, Sendable {
        var workflowID: String
        var runID: RunID
        var execution: UInt64
        /// Under what its parent recorded the start.
        var child: StepKey
    }

    struct Child: Hashable, Sendable {
        var workflowID: String
        var policy: ParentClosePolicy
        /// By which execution of its parent.
        var execution: UInt64
        var startedAt: Int64
        /// How it ended, as JSON, until the body has asked for it; nil while it goes on.
        var end: [UInt8]?
    }

    /// What is on its way to another run.
    struct Post: Hashable, Sendable {
        enum Content: Hashable, Sendable {
            case signal(name: String, value: [UInt8])
            case startChild(type: WorkflowType, input: [UInt8], attributes: RunAttributes)
            /// The parent has ended.
            case closeChild(ParentClosePolicy)
            /// This run has ended.
            case reportEnd
        }

        /// Of the run that it goes to.
        var workflowID: String
        var content: Content
        /// Under what the answer is recorded, like a step's result; nil where nobody waits for it.
        var step: StepKey?
        var createdAt: Int64
        /// Of a child's start that an execution left behind: as what that one would have had it recorded. The child has
        /// it from its parent for good, whoever brings the start.
        var former: FormerStep?

        struct FormerStep: Hashable, Sendable {
            var step: StepKey
            var execution: UInt64
        }

        var byteCount: Int {
            switch content {
            case .signal(_, let value): value.count
            case .startChild(_, let input, _): input.count
            case .closeChild, .reportEnd: 0
            }
        }
    }

    var parent: Parent?
    /// By what their starts are recorded as.
    var children = BucketedMap<StepKey, Child>()
    /// By number: in the order in which they were told.
    private(set) var posts = OrderedMap<UInt64, Post>()
    /// The last one's number. They are counted from 1, and in later incarnations of the run's groups from higher bases: what
    /// the lost members told others under a number is not told under it again.
    private(set) var postCount: UInt64 = 0

    // MARK: Computed

    private var numbers = BucketedMap<StepKey, UInt64>()
    private(set) var postBytes = 0

    /// The number of the post whose answer is recorded as that step.
    func number(of step: StepKey) -> UInt64? { numbers[step] }

    // MARK: Changes

    /// - Parameter epoch: the run's.
    mutating func add(_ post: Post, in epoch: UInt64) {
        postCount = max(postCount, IncarnationNumbers.base(below: epoch)) + 1
        restore(post, postCount)
    }

    private mutating func restore(_ post: Post, _ number: UInt64) {
        posts.insert(post, for: number)
        postBytes += post.byteCount
        if let step = post.step { numbers.insert(number, for: step) }
    }

    mutating func remove(_ number: UInt64) -> Post? {
        guard let post = posts.remove(number) else { return nil }
        postBytes -= post.byteCount
        if let step = post.step { numbers.remove(step) }
        return post
    }

    /// What the next execution of a run has of it: nobody waits there for what this one has sent, and of its children
    /// it knows those alone that this one names, ended or not.
    /// - Parameter execution: the one that is over.
    func continued(from execution: UInt64, keeping kept: [StepKey]) -> RunTies? {
        var next = RunTies()
        next.parent = parent
        next.postCount = postCount
        for key in kept {
            if let child = children[key] { next.children.insert(child, for: key) }
        }
        for (number, var post) in posts.elements {
            if case .startChild = post.content, let step = post.step, !mutated(.forgetsFormerStarts) {
                post.former = Post.FormerStep(step: step, execution: execution)
            }
            post.step = nil
            next.restore(post, number)
        }
        return next.parent == nil && next.postCount == 0 && next.children.count == 0 ? nil : next
    }
}

extension Run {
    /// It has something to tell others: it cannot be removed.
    var owes: Bool { ties.map { $0.posts.count > 0 } ?? false }

    /// Changes what ties the run to others, in its place.
    mutating func withTies<Result>(_ body: (inout RunTies) -> Result) -> Result {
        var own = ties ?? RunTies()
        ties = nil
        defer { ties = own }
        return body(&own)
    }
}

// MARK: Encoding

extension RunTies {
    func write(to writer: inout ProtobufWriter) {
        if let parent { writer.message(1) { parent.write(to: &$0) } }
        for (key, child) in children.sorted() {
            writer.message(2) { writer in
                writer.string(1, key.name.text)
                writer.varint(2, key.occurrence)
                writer.string(3, child.workflowID)
                writer.varint(4, UInt64(child.policy.rawValue))
                writer.signed(5, child.startedAt)
                if let end = child.end { writer.bytesAlways(6, end) }
                writer.varint(7, child.execution)
            }
        }
        for (number, post) in posts.elements {
            writer.message(3) { writer in
                writer.varint(1, number)
                writer.signed(2, post.createdAt)
                post.write(to: &writer)
            }
        }
        writer.varint(4, postCount)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init()
        while let field = try reader.next() {
            if field == 4 {
                postCount = try reader.varint()
                continue
            }
            var inner = try reader.message()
            switch field {
            case 1: parent = try Parent(from: &inner)
            case 2: try readChild(from: &inner)
            case 3: try readPost(from: &inner)
            default: throw reader.unknownField(in: "what ties a run to others")
            }
        }
    }

    private mutating func readChild(from reader: inout ProtobufReader) throws(WireError) {
        var (name, occurrence) = ("", UInt64(0))
        var child = Child(workflowID: "", policy: .terminate, execution: 0, startedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: child.workflowID = try reader.string()
            case 4: child.policy = try ParentClosePolicy(reading: &reader)
            case 5: child.startedAt = try reader.signed()
            case 6: child.end = try reader.bytes()
            case 7: child.execution = try reader.varint()
            default: throw reader.unknownField(in: "a child")
            }
        }
        children.insert(child, for: StepKey(name, occurrence))
    }

    private mutating func readPost(from reader: inout ProtobufReader) throws(WireError) {
        var (number, createdAt) = (UInt64(0), Int64(0))
        var parts = PostParts()
        while let field = try reader.next() {
            switch field {
            case 1: number = try reader.varint()
            case 2: createdAt = try reader.signed()
            default: try parts.read(field, from: &reader)
            }
        }
        restore(try parts.post(at: createdAt), number)
    }
}

extension RunTies.Parent {
    func write(to writer: inout ProtobufWriter) {
        writer.string(1, workflowID)
        writer.bytes(2, runID.bytes)
        writer.string(3, child.name.text)
        writer.varint(4, child.occurrence)
        writer.varint(5, execution)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var (workflowID, name, occurrence, execution) = ("", "", UInt64(0), UInt64(0))
        var runID: RunID?
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3: name = try reader.string()
            case 4: occurrence = try reader.varint()
            case 5: execution = try reader.varint()
            default: throw reader.unknownField(in: "a parent")
            }
        }
        guard let runID else { throw WireError(.invalidValue, "a parent without its run id") }
        self.init(workflowID: workflowID, runID: runID, execution: execution, child: StepKey(name, occurrence))
    }
}

extension RunTies.Post {
    /// From field 5 on, without time and number.
    func write(to writer: inout ProtobufWriter) {
        writer.string(5, workflowID)
        if let step {
            writer.string(6, step.name.text)
            writer.varint(7, step.occurrence)
        }
        switch content {
        case .signal(let name, let value):
            writer.string(8, name)
            writer.bytesAlways(9, value)
        case .startChild(let type, let input, let attributes):
            writer.message(10) { type.write(to: &$0) }
            writer.bytes(11, input)
            attributes.write(to: &writer, 12)
        case .closeChild(let policy): writer.varint(13, UInt64(policy.rawValue))
        case .reportEnd: break
        }
        if let former {
            writer.string(14, former.step.name.text)
            writer.varint(15, former.step.occurrence)
            writer.varint(16, former.execution)
        }
    }
}

/// The fields of a post.
struct PostParts {
    private var workflowID = ""
    private var stepName: String?
    private var occurrence: UInt64 = 0
    private var name = ""
    private var value: [UInt8]?
    private var type: WorkflowType?
    private var input: [UInt8] = []
    private var attributes = RunAttributes()
    private var policy: ParentClosePolicy?
    private var formerName: String?
    private var formerOccurrence: UInt64 = 0
    private var formerExecution: UInt64 = 0

    mutating func read(_ field: Int, from reader: inout ProtobufReader) throws(WireError) {
        switch field {
        case 5: workflowID = try reader.string()
        case 6: stepName = try reader.string()
        case 7: occurrence = try reader.varint()
        case 8: name = try reader.string()
        case 9: value = try reader.bytes()
        case 10:
            var inner = try reader.message()
            type = try WorkflowType(from: &inner)
        case 11: input = try reader.bytes()
        case 12:
            var inner = try reader.message()
            try attributes.read(from: &inner)
        case 13: policy = try ParentClosePolicy(reading: &reader)
        case 14: formerName = try reader.string()
        case 15: formerOccurrence = try reader.varint()
        case 16: formerExecution = try reader.varint()
        default: throw reader.unknownField(in: "what is on its way to another run")
        }
    }

    func post(at createdAt: Int64) throws(WireError) -> RunTies.Post {
        let content: RunTies.Post.Content
        if let value {
            content = .signal(name: name, value: value)
        } else if let type {
            content = .startChild(type: type, input: input, attributes: attributes)
        } else if let policy {
            content = .closeChild(policy)
        } else {
            content = .reportEnd
        }
        var post = RunTies.Post(
            workflowID: workflowID, content: content, step: stepName.map { StepKey($0, occurrence) },
            createdAt: createdAt)
        post.former = formerName.map {
            RunTies.Post.FormerStep(step: StepKey($0, formerOccurrence), execution: formerExecution)
        }
        return post
    }
}

extension ParentClosePolicy {
    init(reading reader: inout ProtobufReader) throws(WireError) {
        guard let policy = ParentClosePolicy(rawValue: UInt8(clamping: try reader.varint())) else {
            throw WireError(.unknownField, "a policy for children that this version does not know")
        }
        self = policy
    }
}
