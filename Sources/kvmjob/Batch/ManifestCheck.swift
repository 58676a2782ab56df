// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// Looks at all lines of a manifest, and at whether the files that they name are there, before any job runs.
struct ManifestCheck {
    /// The most problems that are shown: 20.
    static let shownLimit = 20
    /// The most paths of which it is remembered that they are there: 65,536. More are looked at again.
    static let knownLimit = 65_536

    private(set) var jobs = 0
    /// The first of them.
    private(set) var problems: [ManifestProblem] = []
    private(set) var problemCount = 0
    private var known: Set<Need> = []

    /// What has to be there.
    enum Need: Hashable {
        case file(String, field: ManifestField)
        case tree(String, field: ManifestField)
        /// A program by its name alone, in the caller's PATH.
        case program(String, path: String)
    }

    /// - Throws: ``CommandFailure`` where the manifest cannot be read.
    init(_ manifest: Manifest) async throws {
        var lines = try manifest.lines()
        while let line = try await lines.next() {
            switch line {
            case .failure(let problem): add(problem)
            case .success(let line):
                jobs += 1
                for need in line.needs { check(need, of: line, in: manifest) }
            }
        }
    }

    private mutating func add(_ problem: ManifestProblem) {
        problemCount += 1
        if problems.count < Self.shownLimit { problems.append(problem) }
    }

    private mutating func check(_ need: Need, of line: ManifestLine, in manifest: Manifest) {
        guard !known.contains(need) else { return }
        if let lack = Self.lack(of: need) {
            add(
                ManifestProblem(
                    file: manifest.name, line: line.number, field: need.field.rawValue, message: lack))
        } else if known.count < Self.knownLimit {
            known.insert(need)
        }
    }

    /// Why something that has to be there is not, or cannot be read.
    private static func lack(of need: Need) -> String? {
        switch need {
        case .file(let path, _):
            guard let file = HostFile.followed(path) else { return "there is no file \(path)" }
            if file.kind == .directory { return "\(path) is a directory: name a file" }
            return readable(path)
        case .tree(let path, _):
            return HostFile.followed(path) == nil ? "there is no \(path)" : readable(path)
        case .program(let name, let path):
            let isThere = path.split(separator: ":").contains {
                FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
            }
            return isThere ? nil : "\(name) is in no directory of PATH: write its path, as in ./\(name)"
        }
    }

    private static func readable(_ path: String) -> String? {
        FileManager.default.isReadableFile(atPath: path) ? nil : "\(path) may not be read by this user"
    }

    /// What is shown of the problems, one a line; nil where there are none.
    var report: [String]? {
        guard problemCount > 0 else { return nil }
        let more = problemCount - problems.count
        return problems.map { "kvmjob: \($0.text)" } + (more > 0 ? ["kvmjob: and \(more) more"] : [])
    }
}

extension ManifestCheck.Need {
    fileprivate var field: ManifestField {
        switch self {
        case .file(_, let field), .tree(_, let field): field
        case .program: .program
        }
    }
}

extension ManifestLine {
    /// The files of this machine that the line names.
    fileprivate var needs: [ManifestCheck.Need] {
        var needs: [ManifestCheck.Need] = []
        if case .file(let path) = input { needs.append(.file(path, field: .stdin)) }
        switch work {
        case .image(let source, let pieces, let start):
            if case .file(let path) = source { needs.append(.file(path, field: .image)) }
            for case .file(let path) in pieces.map(\.source) { needs.append(.file(path, field: .memoryAt)) }
            needs += start.modules.map { .file($0.path, field: .module) }
        case .program(let request, _):
            if let root = request.root { needs.append(.tree(root, field: .root)) }
            needs += request.items.map { .tree($0.host, field: .file) }
            if !request.program.contains("/") {
                if request.root == nil {
                    needs.append(.program(request.program, path: request.callerPath ?? ""))
                }
            } else if !request.program.hasPrefix("/") {
                needs.append(.file(HostFile.absolute(request.program, from: request.directory), field: .program))
            }
        }
        return needs
    }
}
