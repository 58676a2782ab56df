// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// The one owner of a file descriptor; closes it when it goes away.
struct OwnedDescriptor: ~Copyable, Sendable {
    let number: Int32

    init(_ number: Int32) { self.number = number }

    deinit { ckvm_close(number) }
}

/// The one owner of a mapping; unmaps it when it goes away.
///
/// SAFETY: `base` is valid for `count` bytes from `init` to `deinit`, and the value cannot be copied. It is Sendable because
/// a mapping has no thread of its own: whoever owns the value decides who touches the bytes.
@safe struct Mapping: ~Copyable, @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let count: Int

    /// Takes over a mapping of `count` bytes.
    init(adopting base: UnsafeMutableRawPointer, count: Int) {
        // SAFETY: the caller hands over the only reference.
        unsafe self.base = base
        self.count = count
    }

    deinit {
        // SAFETY: this is the mapping's only owner.
        unsafe ckvm_unmap(base, UInt64(count))
    }
}
