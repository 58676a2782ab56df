// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import JobModel

/// The guests of `guests.S`.
struct Guest {
    let mode: GuestMode
    let image: [UInt8]

    /// Exits with 0 at once: mov al, 0; out 0xF4, al.
    static let nothing64 = Guest(mode: .user64, image: [0xB0, 0x00, 0xE6, 0xF4])

    private init(mode: GuestMode, image: [UInt8]) { (self.mode, self.image) = (mode, image) }

    private init(_ mode: GuestMode, _ start: UnsafePointer<UInt8>, _ count: Int) {
        (self.mode, image) = (mode, [UInt8](UnsafeBufferPointer(start: start, count: count)))
    }

    /// Prints ``helloText``.
    static let hello = Guest(.real16, floor_hello(), floor_hello_bytes())
    static let helloText = Array("hello\n".utf8)

    static let compute16 = Guest(.real16, floor_compute16(), floor_compute16_bytes())
    static let compute64 = Guest(.user64, floor_compute64(), floor_compute64_bytes())

    /// Write ports this often.
    static let writeCount = 64 * 32
    static let writes16 = Guest(.real16, floor_writes16(), floor_writes16_bytes())
    static let writes64 = Guest(.user64, floor_writes64(), floor_writes64_bytes())
    static let console16 = Guest(.real16, floor_console16(), floor_console16_bytes())

    /// Write as many bytes to the console as RCX says, one after another.
    static let chatter16 = Guest(.real16, floor_chatter16(), floor_chatter16_bytes())
    static let chatter64 = Guest(.user64, floor_chatter64(), floor_chatter64_bytes())
    /// The same, polling the UART's line status before each byte.
    static let polite16 = Guest(.real16, floor_polite16(), floor_polite16_bytes())
    static let polite64 = Guest(.user64, floor_polite64(), floor_polite64_bytes())

    /// Writes 256 pages, one byte each, and exits with 0.
    static let writeMebibyte = Guest(.user64, floor_write_mebibyte(), floor_write_mebibyte_bytes())

    /// Prints this many bytes on COM1 and ends.
    static let printCount = 64 * 256
    static let print16 = Guest(.real16, floor_print16(), floor_print16_bytes())
    static let print64 = Guest(.user64, floor_print64(), floor_print64_bytes())

    /// Seven instructions for ever: a call, its return, a push, a pop and an addition in memory among them.
    static let calls16 = Guest(.real16, floor_calls16(), floor_calls16_bytes())

    /// Two instructions for ever.
    static func steps(_ mode: GuestMode) -> Guest { Guest(mode, floor_steps(), floor_steps_bytes()) }
    /// Writes to the console for ever.
    static func talk(_ mode: GuestMode) -> Guest { Guest(mode, floor_talk(), floor_talk_bytes()) }
    /// Adds one to the first byte of as many pages as RCX says, from 2 MiB on.
    static let scatter = Guest(.user64, floor_scatter(), floor_scatter_bytes())
    /// Touches fresh pages for ever; not in real mode.
    static func touch(_ mode: GuestMode) -> Guest { Guest(mode, floor_touch(), floor_touch_bytes()) }
}
