// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Something that the project is to reach: a figure, nearly always the ratio of two measures of one run, and its bound.
struct Goal {
    enum Bound {
        case atLeast(Double), atMost(Double)

        func holds(_ value: Double) -> Bool {
            switch self {
            case .atLeast(let least): value >= least
            case .atMost(let most): value <= most
            }
        }

        var text: String {
            switch self {
            case .atLeast(let least): ">= \(Spread.number(least, 2))"
            case .atMost(let most): "<= \(Spread.number(most, 2))"
            }
        }
    }

    enum Finding {
        case measured(Spread, rounds: String)
        /// Why there is no figure. Never a figure made of something else.
        case unmeasured(String)
    }

    /// What is divided by what.
    let name: String
    let bound: Bound
    let measure: () async throws -> Finding
}

extension Goal {
    /// One subject's rate over another's, round by round.
    ///
    /// - Parameter companions: processes whose processor time is the benchmark's own.
    static func measured(_ companions: [Int32] = [], of: Subject, to: Subject) async throws -> Finding {
        let results = try await Measurement(subjects: [of, to], companions: companions).run()
        return .measured(results.spread(of: of.name, to: to.name), rounds: results.quality)
    }
}

extension Results {
    /// How many rounds there were, and how disturbed.
    var quality: String {
        let others = Spread(rounds.map { $0.othersShare * 100 })
        let disturbed = quiet < rounds.count ? ", DISTURBED (\(quiet) quiet)" : ""
        return "\(rounds.count) rounds\(disturbed), others \(Spread.number(others.median, 0)) %"
    }
}
