// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Guests
import JobModel
import Testing

/// One of the guest programs in `Tests/Guests`.
struct GuestProgram: Sendable, CustomTestStringConvertible {
    /// How its source says that it ends.
    enum End: Sendable, Equatable {
        case open
        case halted
        case exited(UInt32)
        case faulted(UInt8)
        case tripleFault
    }

    let name: String
    let mode: GuestMode
    let image: [UInt8]
    let load: UInt64
    /// The number of steps to its end, or nil where that is not fixed.
    let steps: UInt64?
    let end: End

    var testDescription: String { name }

    static let all: [GuestProgram] = sequence(state: 0) { index in
        defer { index += 1 }
        return guest_at(index).map { GuestProgram($0.pointee) }
    }.map { $0 }

    /// Those with a known number of steps.
    static let counted = all.filter { $0.steps != nil }

    static func named(_ name: String) throws -> GuestProgram {
        try #require(all.first { $0.name == name }, "no guest is called \(name)")
    }

    private init(_ guest: guest) {
        name = String(cString: guest.name)
        mode = GuestMode(rawValue: UInt8(guest.mode)) ?? .real16
        image = Array(UnsafeBufferPointer(start: guest.image, count: Int(guest.size)))
        load = guest.load
        steps = guest.steps == 0 ? nil : guest.steps
        end =
            switch guest_end(guest.end) {
            case GUEST_END_HALTED: .halted
            case GUEST_END_EXITED: .exited(guest.code)
            case GUEST_END_FAULTED: .faulted(UInt8(guest.code))
            case GUEST_END_TRIPLE_FAULT: .tripleFault
            default: .open
            }
    }

    /// What the guest is to be run with.
    func spec(_ budget: Budget = Budget()) -> JobSpec {
        JobSpec(
            label: name, mode: mode, loadAddress: load, registers: name == "add" ? [.rax: 2, .rbx: 2] : [:],
            budget: budget)
    }
}

extension Outcome {
    /// The end that this outcome is, as the sources of the guests say it.
    var end: GuestProgram.End {
        switch self {
        case .halted: .halted
        case .exited(let code): .exited(code)
        case .faulted(let fault): .faulted(fault.vector)
        case .tripleFault: .tripleFault
        case .unemulatable, .exhausted, .cancelled, .waitExpired, .hostError, .snapshotTaken: .open
        }
    }
}
