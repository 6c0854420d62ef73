import MartletFormat
import MartletWire

/// Every message of the protocol. Input: operation u16 (with the reply bit), version u8, the fields
/// and the attachment.
///
/// Oracle: what decodes is written again in the same length, and that decodes and is written again
/// as the same bytes. (An error code that this build does not know reads as another one.)
enum MessageTarget: FuzzTarget {
    static let name = "message"

    static func run(_ input: [UInt8]) {
        var feed = Feed(input)
        let operation = feed.integer(UInt16.self)
        let version = UInt16(feed.byte())
        let payload = feed.remainder()
        let slab = payload.slab
        let header = FrameHeader(
            operation: operation, version: version, correlation: 7, payloadBytes: payload.count)
        do {
            let again = try MessageCatalog.transcode(header, slab, 0..<slab.count)
            guard let again else { return }
            // The attachment is not part of what was written, but its length is in the header.
            let fieldBytes = again.count - FrameHeader.byteCount
            require(fieldBytes <= payload.count, "grew from \(payload.count) to \(fieldBytes)")
            let attachment = payload[fieldBytes...]
            let second = (again[FrameHeader.byteCount...] + attachment).map { $0 }.slab
            do {
                let third = try MessageCatalog.transcode(header, second, 0..<second.count)
                require(third == again, "written: \(again), read: \(String(describing: third))")
            } catch {
                require(false, "cannot read what it wrote: \(error)")
            }
        } catch {
            require(!error.description.isEmpty, "an error without a text")
            require(!error.breaksFraming, "\(error) of a message breaks the framing")
        }
    }

    /// A request and a reply of each operation, without and with items in their lists.
    static var frames: [(name: String, bytes: [UInt8])] {
        var result: [(name: String, bytes: [UInt8])] = []
        for operation in Operation.allCases {
            let types = MessageCatalog.messages(of: operation)
            for count in [0, 2] {
                let seed = UInt64(operation.rawValue)
                if let bytes = filled(types.request, seed, count, 0) {
                    result.append(("\(operation.name)-request-\(count)", bytes))
                }
                if let bytes = filled(types.reply, seed, count, FrameHeader.replyBit) {
                    result.append(("\(operation.name)-reply-\(count)", bytes))
                }
            }
        }
        return result
    }

    private static func filled<Message: WireMessage>(
        _ type: Message.Type, _ seed: UInt64, _ count: Int, _ replyBit: UInt16
    ) -> [UInt8]? {
        var filler = FieldFiller(seed: seed, arrayCount: count)
        var message = Message()
        do {
            try message.fields(&filler)
            let version = Message.operation.versions.upperBound
            let frame = try message.frame(
                operation: Message.operation.rawValue | replyBit, version: version, correlation: 7)
            return frame + [UInt8](repeating: 0xAB, count: message.attachmentBytes ?? 0)
        } catch {
            return nil
        }
    }

    static var seeds: [(name: String, bytes: [UInt8])] {
        frames.map { frame in
            let bytes = frame.bytes
            return (frame.name, [bytes[4], bytes[5], bytes[7]] + bytes[16...])
        }
    }
}
