import FlotillaRaft

/// The executors of a group by their nodes, in the order of those: few, of very many groups.
struct ExecutorTable: Sendable, Sequence {
    typealias Element = (key: NodeID, value: WorkflowState.Executor)

    private var elements: [Element] = []

    subscript(node: NodeID) -> WorkflowState.Executor? {
        get { elements.first { $0.key == node }?.value }
        set {
            let place = elements.firstIndex { $0.key >= node } ?? elements.endIndex
            let isKnown = place < elements.endIndex && elements[place].key == node
            switch (isKnown, newValue) {
            case (true, let value?): elements[place].value = value
            case (true, nil): elements.remove(at: place)
            // Without room for more: the members of a group are soon all there.
            case (false, let value?): elements = elements[..<place] + [(node, value)] + elements[place...]
            case (false, nil): break
            }
        }
    }

    func makeIterator() -> IndexingIterator<[Element]> { elements.makeIterator() }
}
