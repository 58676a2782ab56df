// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel

/// The options that say how a job waits for a slot.
struct QueueOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Which of your own waiting jobs goes first, 0 to 9: the highest. It says nothing about the jobs of others.",
            valueName: "0-9"))
    var priority = JobPriority.normal

    @Option(
        help: ArgumentHelp(
            "The longest wait for a slot: 300ms, 10s, 2m; then the job ends as wait-expired. (default: as long as it takes)",
            valueName: "duration"),
        transform: DurationText.parse)
    var wait: Duration?

    func validate() throws {
        guard JobPriority.range.contains(priority) else {
            throw ValidationError(
                "--priority takes \(JobPriority.range.lowerBound) to \(JobPriority.range.upperBound).")
        }
        guard wait ?? .seconds(1) > .zero else { throw ValidationError("--wait takes more than nothing.") }
    }

    func apply(to spec: inout JobSpec) {
        spec.priority = priority
        spec.waitLimit = wait?.wholeNanoseconds
    }
}
