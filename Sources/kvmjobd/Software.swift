// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What this program calls itself, to people and on the wire.
enum Software {
    static let name = "kvmjobd"
    static let version = "0.1.0"
    static let nameAndVersion = "\(name) \(version)"
}
