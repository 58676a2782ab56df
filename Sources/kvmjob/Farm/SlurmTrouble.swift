// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// Why tasks do not get on, in words, with the commands that mend it.
struct SlurmTrouble: Sendable, Hashable {
    /// Who may run a command.
    enum Who: String, Sendable, Hashable {
        case you = "you"
        case administrator = "an administrator of Slurm"
    }

    struct Remedy: Sendable, Hashable {
        var who: Who
        var command: String
    }

    var text: String
    var remedies: [Remedy] = []

    /// For people: what it is, and below it who runs what.
    var lines: [String] { ["slurm: \(text)"] + remedies.map { "  \($0.who.rawValue): \($0.command)" } }

    /// All that stands in the way of these tasks, the same for the same state. What only takes its time is none.
    static func all(_ tasks: [SlurmTask], nodes: [SlurmNode]) -> [SlurmTrouble] {
        var byReason: [String: [SlurmTask]] = [:]
        for task in tasks where task.isWaiting { byReason[task.reason, default: []].append(task) }
        let ofTasks = byReason.sorted { $0.key < $1.key }.compactMap { trouble($0.key, $0.value) }
        guard tasks.contains(where: \.isWaiting) else { return ofTasks }
        return ofTasks + nodeTroubles(nodes)
    }

    // MARK: Tasks

    private static func trouble(_ reason: String, _ tasks: [SlurmTask]) -> SlurmTrouble? {
        let some = tasks.count == 1 ? "task \(tasks[0].id) waits" : "\(tasks.count) tasks wait"
        let ids = jobList(tasks)
        switch reason {
        case "JobHeldUser":
            return SlurmTrouble(
                text: "\(some): held (JobHeldUser), by scontrol hold or by Slurm after a failed start",
                remedies: [Remedy(who: .you, command: "scontrol release \(ids)")])
        case "JobHeldAdmin":
            return SlurmTrouble(
                text: "\(some): held by an administrator (JobHeldAdmin)",
                remedies: [Remedy(who: .administrator, command: "scontrol release \(ids)")])
        case _ where reason.hasPrefix("launch failed") || reason == "JobHoldMaxRequeue":
            return SlurmTrouble(
                text: "\(some): could not be started, and is held (\(reason)); slurmd's log on the machine says why",
                remedies: [Remedy(who: .you, command: "scontrol release \(ids)")])
        case "PartitionDown", "PartitionInactive":
            return SlurmTrouble(
                text: "\(some): the partition is closed (\(reason))",
                remedies: [Remedy(who: .administrator, command: "scontrol update PartitionName=NAME State=UP")])
        case "PartitionConfig", "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints":
            return SlurmTrouble(
                text:
                    "\(some): more is asked for than any machine of the partition has (\(reason)); stop it with "
                    + "Ctrl-C, and go on with --resume and fewer --slots, or another --slurm-option=--partition=NAME",
                remedies: [Remedy(who: .you, command: "scancel \(ids)")])
        case _ where reason.hasPrefix("Assoc") || reason.hasPrefix("QOS"):
            return SlurmTrouble(
                text: "\(some): your account's limit is reached (\(reason)); it goes on as other jobs end")
        default: return nil
        }
    }

    /// The tasks as `scontrol` takes them: each array with its indexes.
    private static func jobList(_ tasks: [SlurmTask]) -> String {
        let arrays = Dictionary(grouping: tasks, by: \.array).sorted { $0.key < $1.key }
        return arrays.map { array, tasks in
            tasks.count == 1 ? tasks[0].id : "\(array)_[\(IndexRanges(tasks.map(\.chunk)).text)]"
        }.joined(separator: ",")
    }

    // MARK: Machines

    private static func nodeTroubles(_ nodes: [SlurmNode]) -> [SlurmTrouble] {
        var troubles: [SlurmTrouble] = []
        let drained = nodes.filter { $0.isDrained && !$0.isDown }
        for (reason, group) in Dictionary(grouping: drained, by: \.reason).sorted(by: { $0.key < $1.key }) {
            let names = group.map(\.name).joined(separator: ",")
            let why = reason == "Duplicate jobid" ? "; slurmctld was lost while it gave numbers to tasks" : ""
            troubles.append(
                SlurmTrouble(
                    text: "\(names) \(group.count == 1 ? "takes" : "take") no tasks (drained: \(reason)\(why))",
                    remedies: [
                        Remedy(who: .administrator, command: "scontrol update NodeName=\(names) State=RESUME")
                    ]))
        }
        if !nodes.isEmpty, nodes.allSatisfy(\.isDown) {
            let names = nodes.map(\.name).joined(separator: ",")
            troubles.append(
                SlurmTrouble(
                    text: "no machine answers (\(names))",
                    remedies: [Remedy(who: .administrator, command: "systemctl start slurmd (there)")]))
        }
        return troubles
    }

    // MARK: Submitting

    /// What is wrong when `sbatch` refuses, as far as it is known what that means.
    static func refused(_ complaint: String) -> SlurmTrouble {
        let text = "sbatch refused the batch: \(complaint)"
        let known: [(part: String, remedies: [Remedy])] = [
            (
                "Invalid generic resource",
                [
                    Remedy(
                        who: .you,
                        command: "kvmjob batch ... --no-gres (machines then are not told how many VMs they have)"),
                    Remedy(
                        who: .administrator,
                        command: "GresTypes=kvm and Gres=kvm:N in slurm.conf, \"Name=kvm Count=N\" in gres.conf, "
                            + "then: scontrol reconfigure"),
                ]
            ),
            (
                "Invalid partition",
                [
                    Remedy(who: .you, command: "sinfo (which lists the partitions)"),
                    Remedy(who: .you, command: "kvmjob batch ... --slurm-option=--partition=NAME"),
                ]
            ),
            (
                "node configuration is not available",
                [
                    Remedy(
                        who: .you, command: "kvmjob batch ... --slots N, with fewer: no machine has as many CPUs or kvm"
                    )
                ]
            ),
            (
                "Invalid account",
                [Remedy(who: .you, command: "kvmjob batch ... --slurm-option=--account=NAME")]
            ),
            (
                "Invalid job array",
                [Remedy(who: .administrator, command: "MaxArraySize=1001 in slurm.conf, then: scontrol reconfigure")]
            ),
            (
                "contact slurm controller",
                [Remedy(who: .administrator, command: "systemctl start slurmctld (on its machine)")]
            ),
        ]
        let found = known.first { complaint.localizedStandardContains($0.part) }
        return SlurmTrouble(text: text, remedies: found?.remedies ?? [])
    }
}
