// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A module in memory.
struct LoadedModule {
    let address: UInt64
    let count: UInt64
    /// Where its text is.
    let text: UInt64

    /// Puts modules behind the image, each on a page of its own.
    static func place(
        _ modules: [LaunchOptions.Module], in map: inout MemoryMap
    ) throws(LaunchError) -> [LoadedModule] {
        var loaded: [LoadedModule] = []
        for (number, module) in modules.enumerated() {
            let count = UInt64(module.bytes.count)
            let item = MemoryMap.Item(
                name: "module \(number)", count: count, role: .module, alignment: GuestLayout.pageBytes,
                search: .behindImage)
            let address = try map.place(item) { _ in module.bytes[...] }
            let text = try map.place(text: module.text, named: "text of module \(number)")
            loaded.append(LoadedModule(address: address, count: count, text: text))
        }
        return loaded
    }
}

extension MemoryMap {
    /// Puts a text where there is room, with a NUL behind it.
    mutating func place(text: [UInt8], named name: String) throws(LaunchError) -> UInt64 {
        let item = Item(name: name, count: UInt64(text.count + 1), role: .text, alignment: 1)
        return try place(item) { _ in BootStructure.text(text) }
    }
}
