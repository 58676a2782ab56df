// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension SystemRegisters {
    /// The segment registers in the order in which they are shown, by their names in JSON and in text.
    var namedSegments: [(name: String, segment: Segment)] {
        [
            ("cs", cs), ("ds", ds), ("es", es), ("fs", fs), ("gs", gs), ("ss", ss), ("tr", tr), ("ldt", ldt),
        ]
    }

    /// The control registers likewise.
    var namedControlRegisters: [(name: String, value: UInt64)] {
        [
            ("cr0", cr0), ("cr2", cr2), ("cr3", cr3), ("cr4", cr4), ("cr8", cr8), ("efer", efer),
            ("apic_base", apicBase),
        ]
    }
}
