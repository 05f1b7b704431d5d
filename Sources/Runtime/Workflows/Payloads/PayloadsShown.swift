// What is told of runs, with what this node can read of it.

extension WorkflowDescription {
    func shown(by codec: PayloadCoding) -> WorkflowDescription {
        var shown = self
        shown.input = codec.shown(input)
        shown.output = output.map(codec.shown)
        for index in steps.indices { shown.steps[index].value = codec.shown(steps[index].value) }
        for index in progress.indices { shown.progress[index].value = codec.shown(progress[index].value) }
        for index in checkpoints.indices { shown.checkpoints[index].value = codec.shown(checkpoints[index].value) }
        return shown
    }
}

extension WorkflowHistory {
    func shown(by codec: PayloadCoding) -> WorkflowHistory {
        var shown = self
        shown.input = input.map(codec.shown)
        shown.output = output.map(codec.shown)
        for index in events.indices { shown.events[index].value = events[index].value.map(codec.shown) }
        return shown
    }

    /// Whether some of it could not be read where it was asked for.
    var isUnreadable: Bool {
        ([input, output] + events.map(\.value)).contains { $0.map(PayloadCoding.isUnreadable) ?? false }
    }
}
