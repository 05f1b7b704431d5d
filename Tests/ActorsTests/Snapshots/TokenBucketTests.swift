import FlotillaIO
import Testing

@testable import FlotillaActors

@Suite struct TokenBucketTests {
    @Test("over any time no more is spent than the rate, one burst and one piece allow", arguments: [1, 100, 5_000])
    func rate(_ piece: Int) {
        var now = MonotonicTime(nanoseconds: 5)
        var bucket = TokenBucket(rate: 1_000, burst: 200, now: now)
        let start = now
        var spent = 0
        while start.duration(to: now) < .seconds(60) {
            if let delay = bucket.delay(now: now) {
                now = now.advanced(by: delay)
                #expect(bucket.delay(now: now) == nil, "the delay is long enough")
            }
            bucket.spend(piece, now: now)
            spent += piece
            let allowed = start.duration(to: now) / .seconds(1) * 1_000 + 200 + Double(piece)
            #expect(Double(spent) <= allowed + 1)
        }
        #expect(spent >= 60_000 - piece, "and it is not much less")
    }
}
