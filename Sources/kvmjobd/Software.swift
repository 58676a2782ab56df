// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What this program calls itself, to people and on the wire.
enum Software {
    static let name = "kvmjobd"
    static let version = Release.version
    static let nameAndVersion = "\(name) \(version)"
}
