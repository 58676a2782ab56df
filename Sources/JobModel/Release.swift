// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which kvmjob this is.
public enum Release {
    /// The version of the worker, the command-line tool and the libraries, which are released together.
    public static let version = "0.1.0"
}
