// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One thing that is measured: returns how often it was done per second.
struct Subject {
    let name: String
    let unit: String
    let rate: () async throws -> Double
}

/// What a benchmark promises: one subject's rate against another's, in the same round.
struct Ratio {
    let name: String
    let of: String
    let to: String
    var goal: Double?
}

/// Measures subjects in turns: each round measures every one once, so that whatever else the machine does meets all alike.
///
/// A round in which others took too much does not count; what they took decides that, never what was measured.
struct Measurement {
    /// Quiet rounds that are enough; `--rounds` sets another number, for a look in between.
    nonisolated(unsafe) static var rounds = 31
    /// The most of one core that others may take in a quiet round.
    static let toleratedShare = 0.10
    /// Rounds at the most, quiet or not.
    static var attempts: Int { 2 * rounds }
    /// With fewer quiet rounds than this the least disturbed ones count too, and the report says so.
    static let fewestRounds = 9

    let subjects: [Subject]
    var companions: [Int32] = []

    /// A round: a rate for each subject, and what others took of one core.
    struct Round {
        let rates: [String: Double]
        let othersShare: Double
    }

    func run() async throws -> Results {
        _ = try await round(0)  // warms caches, pools and the worker
        var quiet: [Round] = []
        var disturbed: [Round] = []
        for number in 0..<Self.attempts where quiet.count < Self.rounds {
            let round = try await round(number)
            if round.othersShare <= Self.toleratedShare { quiet.append(round) } else { disturbed.append(round) }
        }
        let missing = max(0, min(Self.fewestRounds, Self.rounds) - quiet.count)
        let filled = quiet + disturbed.sorted { $0.othersShare < $1.othersShare }.prefix(missing)
        return Results(subjects: subjects, rounds: filled, quiet: quiet.count, attempts: quiet.count + disturbed.count)
    }

    /// Begins with another subject each time.
    private func round(_ number: Int) async throws -> Round {
        let before = try ProcessorTime(companions: companions)
        var rates: [String: Double] = [:]
        for offset in subjects.indices {
            let subject = subjects[(number + offset) % subjects.count]
            rates[subject.name] = try await subject.rate()
        }
        let after = try ProcessorTime(companions: companions)
        return Round(rates: rates, othersShare: before.othersShare(until: after))
    }
}

/// Times `count` repetitions of something.
func rate(of count: Int, _ body: () throws -> Void) rethrows -> Double {
    let time = try ContinuousClock().measure(body)
    return Double(count) / time.seconds
}
