// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A distribution as an SVG drawing: jobs over a logarithmic scale, each axis with its unit.
struct HistogramChart {
    let distribution: Distribution
    /// What is on the axis, such as `wall time`.
    let quantity: String
    /// A number of the axis with its unit, as short as it can be.
    let label: (Double) -> String

    private static let (width, height) = (560.0, 230.0)
    private static let (left, right, top, bottom) = (62.0, 14.0, 10.0, 44.0)
    /// With fewer bins than this a bar would be a wall.
    private static let leastBins = 9

    /// Empty where there are no numbers.
    var svg: String {
        guard let used = distribution.usedBins else { return "" }
        let bins = Self.widened(used)
        let ticks = Self.ticks(most: distribution.counts.max() ?? 0)
        return """
            <svg viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img" aria-label="\(HTMLText.escape(summary))">
            \(grid(ticks))\(bars(bins, ticks))\(scale(bins))
            <text class="axis" x="\(Self.x(0.5))" y="\(Self.height - 6)" text-anchor="middle">\
            \(HTMLText.escape(quantity)), logarithmic scale</text>
            <text class="axis" transform="translate(11 \(Self.y(0.5))) rotate(-90)" text-anchor="middle">jobs</text>
            </svg>
            """
    }

    /// The drawing in words.
    var summary: String {
        let figures = [
            ("least", distribution.smallest), ("median", distribution.quantile(percent: 50)),
            ("95 % at most", distribution.quantile(percent: 95)), ("most", distribution.largest),
        ]
        return "\(HTMLText.grouped(distribution.count)) \(distribution.count == 1 ? "job" : "jobs"): "
            + figures.map { "\($0) \(label(Double($1)))" }.joined(separator: ", ")
    }

    private static func widened(_ bins: ClosedRange<Int>) -> ClosedRange<Int> {
        let missing = max(0, leastBins - bins.count)
        let first = max(0, bins.lowerBound - missing / 2)
        return first...max(bins.upperBound, first + leastBins - 1)
    }

    /// Round numbers from 0 up to at least the most, at most six of them.
    private static func ticks(most: Int) -> [Int] {
        var (step, power) = (1, 1)
        while step * 5 < most {
            switch step / power {
            case 1: step = 2 * power
            case 2: step = 5 * power
            default: (step, power) = (10 * power, 10 * power)
            }
        }
        return Array(stride(from: 0, through: (most + step - 1) / step * step, by: step))
    }

    /// From 0 at the left end of the axis to 1 at its right end; with one decimal, so that the page is the same everywhere.
    private static func x(_ part: Double) -> Double { rounded(left + part * (width - left - right)) }
    private static func y(_ part: Double) -> Double { rounded(height - bottom - part * (height - top - bottom)) }
    private static func rounded(_ number: Double) -> Double { (number * 10).rounded() / 10 }

    private func grid(_ ticks: [Int]) -> String {
        let most = Double(ticks.last ?? 1)
        return ticks.map { tick in
            let y = Self.y(Double(tick) / most)
            return """
                <line class="grid" x1="\(Self.left)" x2="\(Self.width - Self.right)" y1="\(y)" y2="\(y)"/>\
                <text x="\(Self.left - 6)" y="\(y + 4)" text-anchor="end">\(HTMLText.grouped(tick))</text>

                """
        }.joined()
    }

    private func bars(_ bins: ClosedRange<Int>, _ ticks: [Int]) -> String {
        let most = Double(ticks.last ?? 1)
        return bins.enumerated().filter { distribution.counts[$1] > 0 }.map { place, bin in
            let count = distribution.counts[bin]
            let from = Self.x(Double(place) / Double(bins.count))
            let to = Self.x(Double(place + 1) / Double(bins.count))
            // A single job among thousands is to be seen too.
            let top = min(Self.y(Double(count) / most), Self.y(0) - 1)
            let range = "\(label(Distribution.start(of: bin))) to \(label(Distribution.start(of: bin + 1)))"
            return """
                <rect class="bar" x="\(from + 1)" y="\(top)" width="\(Self.rounded(to - from - 2))" \
                height="\(Self.rounded(Self.y(0) - top))"><title>\(HTMLText.escape(range)): \
                \(HTMLText.grouped(count)) \(count == 1 ? "job" : "jobs")</title></rect>

                """
        }.joined()
    }

    /// Where a bin begins; of many bins only powers of ten, as many as there is room for.
    private func scale(_ bins: ClosedRange<Int>) -> String {
        let step = bins.count <= 10 ? 1 : 3 * ((bins.count + 23) / 24)
        return (bins.lowerBound...bins.upperBound + 1).filter { $0 % step == 0 }.map { bin in
            let x = Self.x(Double(bin - bins.lowerBound) / Double(bins.count))
            return """
                <line class="tick" x1="\(x)" x2="\(x)" y1="\(Self.y(0))" y2="\(Self.y(0) + 4)"/>\
                <text x="\(x)" y="\(Self.y(0) + 16)" text-anchor="middle">\
                \(HTMLText.escape(label(Distribution.start(of: bin))))</text>

                """
        }.joined()
    }
}
