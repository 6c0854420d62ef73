import MartletFormat
import MartletWire

/// One record of the internal topic `$producers`: a producer id was given to a principal, or its
/// epoch went up. Described with the wire's field coder; its own format version is the first field.
struct ProducerRecord: WireItem {
    static let bytesMin = 14
    static let formatVersion: UInt8 = 1

    /// What the record says.
    enum Kind: UInt8 {
        /// A new id: the record's own offset.
        case registered = 1
        /// A new epoch of `producerID`.
        case epoch = 2
    }

    var format = Self.formatVersion
    var kind = Kind.registered.rawValue
    var producerID: Int64 = -1
    var epoch: Int16 = 0
    var principal = ""

    init() {}

    init(_ kind: Kind, producerID: Int64, epoch: Int16, principal: String) {
        self.kind = kind.rawValue
        self.producerID = producerID
        self.epoch = epoch
        self.principal = principal
    }

    mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("format", &format, "1")
        try c.uint8("kind", &kind, "1 a new id, 2 a new epoch")
        try c.int64("producerID", &producerID, "-1 for a new id: it is the record's offset")
        try c.int16("epoch", &epoch, "the epoch from now on")
        try c.string("principal", &principal, max: 255, "whose id it is")
    }

    init(reading slab: ByteSlab, _ range: Range<Int>) throws(WireError) {
        var decoder = FieldDecoder(slab, range, version: 1)
        try fields(&decoder)
        guard format == Self.formatVersion, Kind(rawValue: kind) != nil else {
            throw .invalid(field: "format", at: 0, reason: "\(format), kind \(kind)")
        }
    }
}
