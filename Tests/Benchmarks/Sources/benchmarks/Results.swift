// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation

/// What a measurement found, and how it prints.
struct Results {
    let subjects: [Subject]
    let rounds: [Measurement.Round]
    let quiet: Int
    let attempts: Int

    func print(_ title: String, ratios: [Ratio]) {
        let others = Spread(rounds.map { $0.othersShare * 100 })
        let quality = quiet < rounds.count ? "DISTURBED: only \(quiet) were quiet" : "all quiet"
        Swift.print(
            "\n\(title): median (range) of \(rounds.count) rounds out of \(attempts), \(quality); "
                + "others took \(others.text(1)) % of one core")
        for subject in subjects {
            let rate = Spread(rounds.compactMap { $0.rates[subject.name] })
            let each = 1e6 / rate.median
            Swift.print("  \(pad(subject.name)) \(rate.text(0)) \(subject.unit)/s, \(Spread.number(each, 2)) us each")
        }
        for ratio in ratios { print(ratio) }
    }

    private func print(_ ratio: Ratio) {
        let goal = ratio.goal.map { " (goal \(Spread.number($0, 2)))" } ?? ""
        Swift.print("  = \(pad(ratio.name, 58)) \(spread(of: ratio.of, to: ratio.to).text(3))\(goal)")
    }

    /// One subject's rate over another's, of each round.
    func spread(of: String, to: String) -> Spread {
        Spread(
            rounds.compactMap { round in
                guard let of = round.rates[of], let to = round.rates[to] else { return nil }
                return of / to
            })
    }

    private func pad(_ text: String, _ width: Int = 60) -> String {
        text.padding(toLength: max(width, text.count), withPad: " ", startingAt: 0)
    }
}

/// A median with its range.
struct Spread {
    private let sorted: [Double]

    init(_ values: [Double]) { sorted = values.sorted() }

    var median: Double {
        guard !sorted.isEmpty else { return .nan }
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    func text(_ digits: Int) -> String {
        let range = "\(Self.number(sorted.first ?? .nan, digits))-\(Self.number(sorted.last ?? .nan, digits))"
        return "\(Self.number(median, digits)) (\(range))"
    }

    static func number(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }
}
