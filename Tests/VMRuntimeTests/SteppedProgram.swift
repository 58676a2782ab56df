// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// A small program of 15 steps that is looked at after each of them.
///
///         mov cx, 2
///     again:
///         add ax, cx
///         out 0x80, al
///         in al, 0x80         ; nobody there: all ones
///         dec cx
///         jnz again
///         mov di, buffer
///         mov cx, 3
///         rep stosb           ; one step
///         hlt                 ; at ring 3: out 0xf4, al
struct SteppedProgram {
    var image: [UInt8]
    /// Where each instruction begins in the image; the last one is the image's end.
    var starts: [UInt64]
    var load: UInt64
    var buffer: UInt64

    init(_ mode: GuestMode) {
        if mode == .real16 {
            image = hex("b90200 01c8 e680 e480 49 75f7 bf0020 b90300 f3aa f4")
            starts = [0, 3, 5, 7, 9, 10, 12, 15, 18, 20, 21]
            (load, buffer) = (0x1000, 0x2000)
        } else {
            image = hex("b902000000 01c8 e680 e480 ffc9 75f6 bf00001800 b903000000 f3aa")
            image += mode == .user64 ? hex("e6f4") : hex("f4")
            starts = [0, 5, 7, 9, 11, 13, 15, 20, 25, 27, mode == .user64 ? 29 : 28]
            (load, buffer) = (0x10_0000, 0x18_0000)
        }
    }
}
