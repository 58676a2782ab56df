// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Guests

/// Writes every guest program as an image file, for the command line and for tests outside the package.
///
/// `guest-images [DIRECTORY]` lists one guest a line on standard output: name, mode, load address, steps (`-` where not
/// fixed), size in bytes, end. With a directory, which is created if need be, it also writes `NAME.bin` there for each.
@main
struct GuestImages {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard arguments.count <= 1, arguments.first?.hasPrefix("-") != true else {
            FileHandle.standardError.write(Data("usage: guest-images [DIRECTORY]\n".utf8))
            exit(64)  // EX_USAGE
        }
        let directory = arguments.first.map { URL(fileURLWithPath: $0, isDirectory: true) }
        if let directory {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        }
        var index = 0
        while let guest = guest_at(index)?.pointee {
            if let directory { try write(guest, in: directory) }
            print(line(guest))
            index += 1
        }
    }

    static func write(_ guest: guest, in directory: URL) throws {
        let file = directory.appendingPathComponent("\(String(cString: guest.name)).bin")
        try Data(bytes: guest.image, count: Int(guest.size)).write(to: file)
    }

    static func line(_ guest: guest) -> String {
        let steps = guest.steps == 0 ? "-" : "\(guest.steps)"
        let load = "0x" + String(guest.load, radix: 16)
        return "\(String(cString: guest.name)) \(mode(guest)) \(load) \(steps) \(guest.size) \(end(guest))"
    }

    static func mode(_ guest: guest) -> String {
        ["real16", "protected32", "long64", "user64"][Int(guest.mode) - 1]
    }

    static func end(_ guest: guest) -> String {
        switch guest_end(rawValue: guest.end) {
        case GUEST_END_HALTED: "halted"
        case GUEST_END_EXITED: "exited:\(guest.code)"
        case GUEST_END_FAULTED: "faulted:\(guest.code)"
        case GUEST_END_TRIPLE_FAULT: "triple-fault"
        default: "-"
        }
    }
}
