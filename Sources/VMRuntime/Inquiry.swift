// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a job wants told beyond its outcome and its figures.
struct Inquiry: Sendable {
    var report: ReportContents = []
    /// Windows of guest memory, checked by ``MemoryDump/check(_:)``.
    var dumps: [MemoryRange] = []
    var isTraced = false

    /// Nothing.
    init() {}

    init(_ spec: JobSpec) { (report, dumps, isTraced) = (spec.report, spec.dumps, spec.isTraced) }
}
