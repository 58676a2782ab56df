// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension Duration {
    /// This duration in nanoseconds, rounded down: from zero to the most that 63 bits hold, some 292 years.
    public var wholeNanoseconds: UInt64 {
        guard self > .zero else { return 0 }
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carry) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return UInt64(overflow || carry ? .max : sum)
    }

    /// This many nanoseconds: any count fits.
    public init(wholeNanoseconds count: UInt64) {
        self = .seconds(Int64(count / 1_000_000_000)) + .nanoseconds(Int64(count % 1_000_000_000))
    }
}
