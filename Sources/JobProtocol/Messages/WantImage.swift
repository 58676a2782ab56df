// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Some of a program's layers, as WANT_IMAGE names them: bit n stands for the one that the SUBMIT named at place n, from 0.
public struct LayerSet: RawRepresentable, Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public let rawValue: UInt32

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The layers at these places, each below ``JobModel/ProgramSpec/layerLimit``.
    public init(_ places: some Sequence<Int>) { self.init(rawValue: places.reduce(0) { $0 | 1 << UInt32($1) }) }

    /// Whether the layer at this place is among them.
    public func contains(_ place: Int) -> Bool { place < UInt32.bitWidth && rawValue >> UInt32(place) & 1 == 1 }

    /// Whether all of them are among the first so many layers.
    func isWithin(_ count: Int) -> Bool { count >= UInt32.bitWidth || rawValue >> UInt32(count) == 0 }
}

extension LayerSet {
    enum Tag: UInt16 { case layers = 0x0001 }

    /// The content of a WANT_IMAGE: nil where it speaks of an image.
    static func decode(_ frame: Frame) throws(WireError) -> LayerSet? {
        var fields = FieldReader(frame, .wantImage)
        var layers: LayerSet?
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .layers: layers = LayerSet(rawValue: try field.integer(in: UInt32(1)...UInt32.max))
            case nil: try field.skip()
            }
        }
        return layers
    }

    static func frame(_ layers: LayerSet?, job: UInt32) -> Frame {
        var fields = FieldWriter(.wantImage, job: job, capacity: 16)
        fields.put(Tag.layers, layers?.rawValue)
        return fields.finish()
    }
}
