// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Benchmark
import Subjects

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock, .cpuTotal, .contextSwitches, .throughput], scalingFactor: .kilo, maxDuration: .seconds(1))
    for subject in Subject.all {
        Benchmark(subject.name) { benchmark in subject.run(benchmark.scaledIterations.count) }
    }
}
