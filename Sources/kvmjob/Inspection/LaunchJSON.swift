// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel

/// A launch plan as members of a JSON object. Keys may be added in later versions, never renamed.
///
/// | key | value |
/// |---|---|
/// | `format` | as `--format` takes it |
/// | `mode`, `entry` | as `--mode` takes it; the first instruction's address, in `real16` an offset in CS |
/// | `registers`, `controls` | what is set, by name |
/// | `segments`, `tables` | likewise, as in the report of a job |
/// | `memory_bytes`, `least_memory_bytes` | what the guest gets, and the least it could start with |
/// | `needs` | names |
/// | `facts` | what the image says of itself: `name`, `text` |
/// | `notes` | texts |
/// | `map` | by rising address: `address`, `bytes`, `kind`, `name`, and `filled`, whether it is more than zeros |
/// | `rom` | null, or `address`, `bytes`, `shadow_address`, `shadow_bytes` |
struct LaunchJSON {
    let plan: LaunchPlan

    var members: [(key: String, value: JSONValue)] {
        [
            ("format", .string(plan.format.rawValue)), ("mode", .string(plan.mode.name)),
            ("entry", .hex(plan.entryPoint)),
            ("registers", Self.named(RegisterName.allCases.map { ($0.name, plan.registers[$0].map(JSONValue.hex)) })),
            ("segments", Self.named(SegmentName.allCases.map { ($0.name, plan.segments[$0].map(\.json)) })),
            ("tables", Self.named(TableName.allCases.map { ($0.name, plan.tables[$0].map(\.json)) })),
            ("controls", Self.named(ControlName.allCases.map { ($0.name, plan.controls[$0].map(JSONValue.hex)) })),
            ("memory_bytes", .count(plan.memoryBytes)), ("least_memory_bytes", .count(plan.leastMemoryBytes)),
            ("needs", .array(plan.needs.map { .string($0.rawValue) })),
            ("facts", .array(plan.facts.map { .object([("name", .string($0.name)), ("text", .string($0.text))]) })),
            ("notes", .array(plan.notes.map(JSONValue.string))), ("map", .array(plan.map.regions.map(Self.region))),
            ("rom", plan.rom.map(Self.rom) ?? .null),
        ]
    }

    /// What is wrong: `rule`, `field`, `value` (hexadecimal, or null), `offset` in the file (or null), `message`.
    static func value(_ error: LaunchError) -> JSONValue {
        .object([
            ("rule", .string(error.rule.rawValue)), ("field", .string(error.field)), ("value", .hex(error.value)),
            ("offset", .count(error.offset)), ("message", .string(error.message)),
        ])
    }

    /// Those that have a value.
    private static func named(_ members: [(String, JSONValue?)]) -> JSONValue {
        .object(members.compactMap { name, value in value.map { (key: name, value: $0) } })
    }

    private static func region(_ region: MemoryMap.Region) -> JSONValue {
        .object([
            ("address", .hex(region.address)), ("bytes", .count(region.count)), ("kind", .string(region.role.rawValue)),
            ("name", .string(region.name)), ("filled", .bool(!region.bytes.isEmpty)),
        ])
    }

    private static func rom(_ rom: ROMImage) -> JSONValue {
        .object([
            ("address", .hex(rom.address)), ("bytes", .count(rom.bytes.count)),
            ("shadow_address", .hex(rom.shadowAddress)), ("shadow_bytes", .count(rom.shadowBytes.count)),
        ])
    }
}
