import FlotillaIO
import FlotillaRaft

/// Has the log store read what is not in memory any more, a few pages at a time; the others wait in the order in which
/// they were asked for. Cores ask for one page per member at most, so the queue is as long as there are groups, times
/// members. Confined to the scheduler's loop.
struct LogReader {
    /// What a replica's core asked for.
    struct Request: Sendable {
        var replica: ReplicaIdentity
        var read: LogRead
    }

    let store: any LogStore
    let worker: any Worker
    let loop: any Loop

    private var waiting: [Request] = []
    /// How many of them are being read, or were: not removed one by one, since thousands of groups may wait.
    private var taken = 0
    private var inFlight = 0
    private var isStopped = false

    /// Pages that are being read, or were and are not sent yet: they bound what reads take of memory.
    private static let inFlightMax = 4

    init(store: any LogStore, worker: any Worker, loop: any Loop) {
        self.store = store
        self.worker = worker
        self.loop = loop
    }

    mutating func add(_ reads: [LogRead], of replica: ReplicaIdentity) {
        if isStopped { return }
        for read in reads { waiting.append(Request(replica: replica, read: read)) }
    }

    /// - Parameter completion: called on the loop for each page.
    mutating func start(then completion: @escaping @Sendable (Request, Result<[Entry], LogError>) -> Void) {
        while inFlight < Self.inFlightMax, taken < waiting.count {
            let request = waiting[taken]
            taken += 1
            forgetTaken()
            inFlight += 1
            let outcome = Lock<Result<[Entry], LogError>>(.success([]))
            worker.submit(
                { [store] in
                    let result: Result<[Entry], LogError>
                    do throws(LogError) {
                        result = .success(
                            try store.read(
                                request.replica.group, incarnation: request.replica.incarnation,
                                from: request.read.first, bytesMax: request.read.bytesMax))
                    } catch {
                        result = .failure(error)
                    }
                    outcome.withLock { $0 = result }
                },
                then: { completion(request, outcome.withLock { $0 }) }, on: loop)
        }
    }

    /// Also where some always wait, what was taken does not stay; each request is moved once at most on the average.
    private mutating func forgetTaken() {
        if taken == waiting.count {
            (waiting, taken) = ([], 0)
        } else if taken >= 64, taken * 2 >= waiting.count {
            waiting.removeFirst(taken)
            taken = 0
        }
    }

    /// For tests: what is kept, taken or not.
    var keptCount: Int { waiting.count }

    mutating func didComplete() { inFlight -= 1 }

    /// Nothing is read any more; what is under way is not waited for.
    mutating func stop() {
        isStopped = true
        waiting = []
        taken = 0
    }
}
