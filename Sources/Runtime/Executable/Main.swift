import Flotilla

/// The `flotilla` command with the sample workflow. Another executable with its own workflows needs no more than this.
@main
struct Main {
    static func main() async {
        await FlotillaCommand.main(workflows: [orderProcessing, benchmarkSteps, benchmarkChain, benchmarkWaits])
    }
}
