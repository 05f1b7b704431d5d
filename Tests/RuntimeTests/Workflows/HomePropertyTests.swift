import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Two to four groups as state machines, whoever drives them as single steps that any other may follow, and a network
/// that keeps every command and delivers it again whenever it likes.
private struct World {
    /// A caller that wants one id started. It may vanish between any two of its steps.
    struct Caller {
        var id: String
        var run: RunID
        var target: Int
        /// Where the run is to be started, once the home has said so.
        var place: (group: Int, run: RunID, epoch: UInt64)?
        /// A run that cannot begin any more.
        var dead: TransferOperation.Reservation.Replaced?
    }

    static let ids = (0..<5).map { "w\($0)" }

    var random: SeededGenerator
    var groups: [TransferBench]
    var map = SlotMap()
    /// Groups that are to go.
    var draining: Set<Int> = []
    var callers: [Caller] = []
    var sent: [(group: Int, WorkflowOperation)] = []
    var runCount: UInt64 = 0
    var time: Int64 = 1_000_000_000
    /// Runs that began, and were not removed yet.
    var begun: Set<RunID> = []
    let numbers: [Int]
    var isDisturbed = true

    init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed)
        numbers = Array(Set(Self.ids.map { SlotMap.slot(of: RunKey("default", $0)) })).sorted()
        groups = []
        for number in 0..<Int.random(in: 2...4, using: &random) {
            groups.append(try TransferBench(UInt64(20 + number)))
        }
        map.move(numbers, to: groups[0].group)
        try apply(0, .transfer(.openSlots(numbers, epoch: 1)))
    }

    mutating func chance(_ share: Int) -> Bool { Int.random(in: 0..<share, using: &random) == 0 }
    func index(_ group: GroupID) -> Int { Int(group.rawValue) - 20 }
    func key(_ id: String) -> RunKey { RunKey("default", id) }

    @discardableResult
    mutating func apply(_ group: Int, _ operation: WorkflowOperation, epoch: UInt64 = 0) throws -> WorkflowAnswer {
        if sent.count < 400 {
            sent.append((group, operation))
        } else {
            sent[Int.random(in: 0..<400, using: &random)] = (group, operation)
        }
        groups[group].bench.time = max(groups[group].bench.time, time)
        let before = Set(groups[group].state.runs.inStartOrder().map(\.run.runID))
        let answer = try groups[group].bench.apply([operation], epoch: epoch)
        if case .startRun = operation {
            for (_, run) in groups[group].state.runs.inStartOrder() where !before.contains(run.runID) {
                begun.insert(run.runID)
            }
        }
        return answer
    }

    /// Where a caller looks first: now and then by a map that is older than it should be.
    mutating func home(of id: String) -> Int {
        if chance(8) { return Int.random(in: groups.indices, using: &random) }
        return index(map[SlotMap.slot(of: key(id))].home)
    }

    mutating func newRun() -> RunID {
        runCount += 1
        return RunID(milliseconds: time / 1_000_000, random: (runCount, runCount))
    }

    // MARK: Callers

    mutating func stepCaller() throws {
        if callers.count < 4, let id = Self.ids.randomElement(using: &random) {
            callers.append(Caller(id: id, run: newRun(), target: Int.random(in: groups.indices, using: &random)))
        }
        let number = Int.random(in: callers.indices, using: &random)
        if chance(12) {
            callers.remove(at: number)
            return
        }
        var caller = callers[number]
        let isDone = try advance(&caller)
        callers[number] = caller
        if isDone { callers.remove(at: number) }
    }

    /// - Returns: whether the caller has what it wanted.
    private mutating func advance(_ caller: inout Caller) throws -> Bool {
        guard case .startRun(var start) = Bench.start(caller.id) else { return true }
        guard let place = caller.place else {
            let home = home(of: caller.id)
            if home == caller.target, caller.dead == nil {
                (start.runID, start.placement) = (caller.run, .atHome)
                return try apply(home, .startRun(start)).result != nil
            }
            let reservation = TransferOperation.Reservation(
                workflowID: caller.id, runID: caller.run, group: groups[caller.target].group, replacing: caller.dead)
            if let result = try apply(home, .transfer(.reserveRun(reservation))).result, let run = result.runID,
                let group = result.group
            {
                caller.place = (index(group), run, result.slotEpoch)
            }
            return false
        }
        (start.runID, start.placement) = (place.run, .reserved(epoch: place.epoch))
        start.admitBelow = chance(3) ? 1 : 0
        let answer = try apply(place.group, .startRun(start))
        if let result = answer.result, result.turnedDown == nil { return true }
        caller.place = nil
        caller.target = Int.random(in: groups.indices, using: &random)
        if answer.result?.turnedDown != nil || [.notReserved, .sealed].contains(answer.refusal) {
            caller.dead = .init(runID: place.run, group: groups[place.group].group)
            caller.run = newRun()
        }
        return false
    }

    // MARK: What leaders do

    /// One command on behalf of a group, by what its state says.
    mutating func drive(_ here: Int) throws {
        let state = groups[here].state
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            guard let id = state.transfers.outgoing.keys.sorted().randomElement(using: &random),
                let moving = state.transfers.outgoing[id]
            else { return }
            try transfer(id, moving, from: here)
        case 1: try handOver(here)
        case 2:
            guard let (run, key) = state.transfers.releases.sorted().randomElement(using: &random) else { return }
            let home = index(map[SlotMap.slot(of: key)].home)
            let cleared = try apply(home, .transfer(.clearAddress(workflowID: key.workflowID.text, run)))
            guard cleared.result != nil, !chance(4) else { return }
            try apply(here, .transfer(.confirmRelease(workflowID: key.workflowID.text, run)))
        case 3:
            guard draining.contains(here) || isDisturbed && chance(6),
                let (key, run) = state.runs.inStartOrder().randomElement(using: &random),
                let there = groups.indices.filter({ $0 != here && !draining.contains($0) }).randomElement(
                    using: &random)
            else { return }
            let address = RunAddress(workflowID: key.workflowID.text, runID: run.runID)
            try apply(here, .transfer(.exportRun(address, to: groups[there].group)))
        default:
            if draining.contains(here) { try apply(here, .transfer(.seal(epoch: 1))) }
        }
    }

    private mutating func transfer(_ id: Transfers.ID, _ moving: Transfers.Outgoing, from here: Int) throws {
        let (there, id_) = (index(id.target), moving.key.workflowID.text)
        let home = index(map[SlotMap.slot(of: moving.key)].home)
        func news(_ address: Transfers.Address, first: Bool) -> WorkflowOperation {
            .transfer(.setAddress(workflowID: id_, address, isFirst: first))
        }
        let isHome = groups[here].state.transfers.slots.openEpoch(of: SlotMap.slot(of: moving.key)) != nil
        if !isHome, !moving.run.isListed {
            let before = moving.run.addressBeforeMove(groups[here].group)
            guard try apply(home, news(before, first: true)).result != nil, !chance(4) else { return }
            try apply(here, .transfer(.listExport(id)))
            return
        }
        let parts = TransferredRun(key: moving.key, run: moving.run)
            .parts(from: groups[here].group, number: id.number, acknowledgedBelow: 1, partBytes: 60)
        var result: OperationResult?
        for part in parts {
            result = try apply(there, .transfer(.importRun(part))).result
            guard result != nil, !chance(30) else { return }
        }
        guard let result, !chance(4) else { return }
        var done = TransferOperation.Completion(
            target: id.target, number: id.number, isAccepted: result.turnedDown == nil)
        if done.isAccepted, !isHome {
            let after = moving.run.addressAfterMove(id.target)
            done.isKnownAtHome = try apply(home, news(after, first: false)).result != nil
            guard done.isKnownAtHome, !chance(4) else { return }
        }
        try apply(here, .transfer(.completeExport(done)))
    }

    private mutating func handOver(_ here: Int) throws {
        let (slots, group) = (groups[here].state.transfers.slots, groups[here].group)
        for slot in numbers where slots.openEpoch(of: slot) != nil && map[slot].home != group {
            try apply(here, .transfer(.closeSlots([slot], epoch: map[slot].epoch, home: map[slot].home, instead: nil)))
        }
        guard let (next, numbers) = slots.closed.sorted(by: { $0.key < $1.key }).randomElement(using: &random) else {
            return
        }
        let entries = HandoverSource(groups[here].state, of: group).entries(in: numbers)
        let steps: [TransferOperation] = [
            .handOver(epoch: next.epoch, entries), .openSlots(numbers, epoch: next.epoch),
        ]
        for step in steps {
            let answer = try apply(index(next.home), .transfer(step))
            if answer.refusal == .sealed {
                for slot in numbers where map[slot].home != group {
                    try apply(
                        here,
                        .transfer(
                            .closeSlots([slot], epoch: map[slot].epoch, home: map[slot].home, instead: next.home)))
                }
                return
            }
            if chance(4) { return }
        }
        try apply(here, .transfer(.releaseSlots(numbers, epoch: next.epoch)))
    }

    // MARK: What else happens

    mutating func step(disturbed: Bool) throws {
        isDisturbed = disturbed
        let here = Int.random(in: groups.indices, using: &random)
        switch Int.random(in: 0..<22, using: &random) {
        case 0...3: try stepCaller()
        case 4...13: try drive(here)
        case 14, 15:
            guard let (key, run) = groups[here].state.runs.inStartOrder().randomElement(using: &random) else { return }
            let address = RunAddress(workflowID: key.workflowID.text, runID: run.runID)
            if run.status.isFinished {
                try apply(here, .pruneRun(workflowID: key.workflowID.text))
                begun.remove(run.runID)
            } else if run.status == .running {
                try apply(here, .finishRun(address, .success([])), epoch: run.epoch)
            }
        case 16: groups[here] = try groups[here].restarted()
        case 17:
            guard disturbed else { return }
            time += chance(10) ? 2 * DepartedRuns.horizon * 1_000_000 : 50_000_000
        case 18, 19:
            let open = groups.indices.filter { !draining.contains($0) }
            guard disturbed, let slot = numbers.randomElement(using: &random),
                let home = open.randomElement(using: &random)
            else { return }
            // No more than one home ahead of what groups know; see `closeSlots`.
            let settled = groups.compactMap { $0.state.transfers.slots[slot]?.epoch }.max() ?? 0
            if map[slot].epoch <= settled { map.move([slot], to: groups[home].group) }
        default:
            guard disturbed, let (group, operation) = sent.randomElement(using: &random) else { return }
            if case .pruneRun = operation { return }
            try apply(group, operation)
        }
    }

    /// Somebody still has to tell somebody something.
    var isBusy: Bool {
        groups.contains { group in
            let transfers = group.state.transfers
            return transfers.hasDeliveries
                || numbers.contains { transfers.slots.openEpoch(of: $0) != nil && map[$0].home != group.group }
        }
    }

    /// Whoever asks the home of an id finds its run.
    func checkAddresses(_ place: String) throws {
        for group in groups {
            for (key, run) in group.state.runs.inStartOrder() {
                let home = groups[index(map[SlotMap.slot(of: key)].home)]
                if home.group == group.group { continue }
                let address = home.state.transfers.addresses[key]
                try #require(
                    address?.runID == run.runID && address?.group == group.group,
                    "\(place): \(key) is in \(group.group), its home \(home.group) says \(String(describing: address))")
            }
        }
    }

    /// An id has one run, which is in one group, or frozen in one while its target has not taken it.
    func check(_ place: String) throws {
        var places: [RunID: Int] = [:]
        for id in Self.ids {
            var runs: [RunID] = []
            for group in groups {
                if let run = group.state.runs[key(id)] { runs.append(run.runID) }
                if let transfer = group.state.transfers.frozen[key(id)],
                    let run = group.state.transfers.frozenRun(key(id))
                {
                    let inbox = groups[index(transfer.target)].state.transfers.inboxes[group.group] ?? .init()
                    if transfer.number >= inbox.next || inbox.turnedDown[transfer.number] != nil {
                        runs.append(run.runID)
                    }
                }
            }
            try #require(runs.count <= 1, "\(place): \(id) has the runs \(runs)")
            for run in runs { places[run, default: 0] += 1 }
        }
        try #require(begun.isSubset(of: Set(places.keys)), "\(place): a run is lost")
        for slot in numbers {
            let open = groups.filter { $0.state.transfers.slots.openEpoch(of: slot) != nil }
            try #require(open.count <= 1, "\(place): slot \(slot) is open in \(open.map(\.group))")
        }
    }
}

@Suite("Homes and transfers under repetition, reordering and crashes", .timeLimit(.minutes(5)))
struct HomePropertyTests {
    @Test("an id never has two runs, none is lost, and any group can be drained and sealed")
    func histories() throws {
        for seed in Simulation.seeds(40) {
            var world = try World(seed: seed)
            let leaving = Int.random(in: world.groups.indices, using: &world.random)
            let orderedAt = Int.random(in: 200..<700, using: &world.random)
            for step in 0..<700 {
                if step == orderedAt { world.draining = [leaving] }
                try world.step(disturbed: true)
                try world.check("seed \(seed), step \(step)")
            }
            let heir = try #require(world.groups.indices.first { $0 != leaving })
            let slots = world.map.slots(of: world.groups[leaving].group)
            world.map.move(slots, to: world.groups[heir].group)
            world.draining = [leaving]
            var rounds = 0
            while world.groups[leaving].state.transfers.sealEpoch == nil {
                rounds += 1
                try #require(
                    rounds < 20_000, "seed \(seed): \(world.groups[leaving].state.holdings ?? "nothing") is left")
                try world.step(disturbed: false)
                try world.check("seed \(seed), draining, round \(rounds)")
            }
            rounds = 0
            while world.isBusy {
                rounds += 1
                try #require(rounds < 20_000, "seed \(seed): not at rest")
                for here in world.groups.indices { try world.drive(here) }
            }
            try world.checkAddresses("seed \(seed)")
            for group in world.groups { #expect(group.state.check() == nil, "seed \(seed)") }
        }
    }
}
