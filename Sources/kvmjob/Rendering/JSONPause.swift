// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A job's pause as JSON: one object on one line, before the job's own.
///
/// | key | value |
/// |---|---|
/// | `name` | the job's name |
/// | `event` | `paused`; a job's last object has no `event` |
/// | `steps` | steps taken so far |
/// | `keep_ns` | nanoseconds that the worker waits for an answer |
/// | `registers`, `segments`, `tables`, `control` | as in ``JSONReport`` |
struct JSONPause {
    let name: String
    let pause: Pause

    var value: JSONValue {
        .object(
            [
                ("name", .string(name)), ("event", .string("paused")), ("steps", .count(pause.steps)),
                ("keep_ns", .count(pause.keepNanoseconds)),
            ] + JSONReport.state(pause.registers, pause.system))
    }
}
