// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Values by key, in the order of their last use. Each call takes the same time, however many there are.
struct RecencyShelf<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Content: Sendable {
        let key: Key
        let value: Value
        let bytes: Int
    }

    /// A place's neighbours in the order; `none` at the ends.
    private struct Links: Sendable {
        var older: Int
        var newer: Int
        var use: UInt64
    }

    private static var none: Int { -1 }

    private var places: [Key: Int] = [:]
    /// nil in a free place.
    private var contents: [Content?] = []
    private var links: [Links] = []
    private var free: [Int] = []
    private var oldest = Self.none
    private var newest = Self.none
    /// The sum of the values' bytes.
    private(set) var bytes = 0

    var count: Int { places.count }

    /// When the value was used that is out of use for longest; 0 if there is none.
    var oldestUse: UInt64 { oldest == Self.none ? 0 : links[oldest].use }

    /// Looks without using.
    func peek(_ key: Key) -> Value? { places[key].flatMap { contents[$0]?.value } }

    /// - Parameter use: above that of every use before.
    mutating func use(_ key: Key, at use: UInt64) -> Value? {
        guard let place = places[key] else { return nil }
        if place != newest {
            unlink(place)
            link(place, use)
        }
        links[place].use = use
        return contents[place]?.value
    }

    /// Puts in a value under a key that has none.
    mutating func add(_ value: Value, _ key: Key, bytes: Int, at use: UInt64) {
        let content = Content(key: key, value: value, bytes: bytes)
        let place = free.popLast() ?? contents.count
        if place == contents.count {
            contents.append(content)
            links.append(Links(older: Self.none, newer: Self.none, use: use))
        } else {
            contents[place] = content
        }
        places[key] = place
        self.bytes += bytes
        link(place, use)
    }

    /// Takes out the value that is out of use for longest, and says how many bytes it had.
    mutating func removeOldest() -> Int {
        guard oldest != Self.none, let content = contents[oldest] else {
            preconditionFailure("who loses something has something")
        }
        let place = oldest
        unlink(place)
        contents[place] = nil
        places[content.key] = nil
        free.append(place)
        bytes -= content.bytes
        return content.bytes
    }

    // MARK: The order

    /// Makes it the one that was used last.
    private mutating func link(_ place: Int, _ use: UInt64) {
        links[place] = Links(older: newest, newer: Self.none, use: use)
        if newest == Self.none { oldest = place } else { links[newest].newer = place }
        newest = place
    }

    private mutating func unlink(_ place: Int) {
        let (older, newer) = (links[place].older, links[place].newer)
        if older == Self.none { oldest = newer } else { links[older].newer = newer }
        if newer == Self.none { newest = older } else { links[newer].older = older }
    }
}
