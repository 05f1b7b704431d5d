import Flotilla

/// The `flotilla` command with the sample workflows. Another executable with its own workflows needs no more than this.
@main
struct Main {
    static func main() async {
        await FlotillaCommand.main(workflows: [
            orderProcessing, sampleWords, sampleCounter, benchmarkSteps, benchmarkChain, benchmarkWaits,
        ])
    }
}
