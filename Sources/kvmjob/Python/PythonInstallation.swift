// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// A Python interpreter of this machine, and where it has its standard library.
struct PythonInstallation: Sendable, Hashable, Codable {
    /// The interpreter's own path, behind whatever starts it.
    var executable: String
    /// The standard library's directories.
    var library: [String]
    /// Such as "3.11.2".
    var version: String

    /// Asks an interpreter, which is this machine's and not the guest's program. Blocks until it has answered.
    ///
    /// - Parameter name: a path, or a name that is looked for in `PATH`.
    /// - Throws: ``CommandFailure`` if there is none, or it is too old.
    static func ask(_ name: String) throws(CommandFailure) -> PythonInstallation {
        let question = Process()
        let (answer, errors) = (Pipe(), Pipe())
        question.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        question.arguments = [name, "-I", "-S", "-c", Self.question]
        (question.standardInput, question.standardOutput, question.standardError) = (
            FileHandle.nullDevice, answer, errors
        )
        do {
            try question.run()
            let output = answer.fileHandleForReading.readDataToEndOfFile()
            let complaint = errors.fileHandleForReading.readDataToEndOfFile()
            question.waitUntilExit()
            guard question.terminationStatus == 0 else {
                throw CommandFailure(
                    message: "\(name) cannot be asked for its library: "
                        + String(decoding: complaint.prefix(500), as: UTF8.self),
                    status: question.terminationStatus == 127 ? ExitStatus.notFound : ExitStatus.cannotRun)
            }
            return try JSONDecoder().decode(PythonInstallation.self, from: output)
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure(
                message: "\(name) cannot be asked for its library: \(error.localizedDescription)",
                status: ExitStatus.cannotRun)
        }
    }

    /// Prints a ``PythonInstallation`` as JSON, with what a bare interpreter has.
    private static let question = """
        import sys
        if sys.version_info < (3, 8):
            sys.exit("it is Python %d.%d, and must be 3.8 or later" % sys.version_info[:2])
        import json, os, sysconfig
        paths = sysconfig.get_paths()
        real = os.path.realpath(sys.executable)
        library = sorted({paths["stdlib"], paths["platstdlib"]})
        print(json.dumps({"executable": real, "library": library, "version": sys.version.split()[0]}))
        """
}
