import MartletFormat
import MartletTestSupport
import MartletWire
import Testing

@Suite struct MessageTests {
    @Test func `every message comes back as it was`() throws {
        for type in allMessages {
            for arrayCount in 0...3 { try roundTrip(type, arrayCount: arrayCount) }
        }
    }

    private func roundTrip<Message: WireMessage>(
        _ type: Message.Type, arrayCount: Int
    ) throws {
        let message = try type.filled(seed: UInt64(arrayCount) + 3, arrayCount: arrayCount)
        let attachment = [UInt8](repeating: 0xAB, count: message.attachmentBytes ?? 0)
        let fields = try encodedFields(message)
        #expect(fields.count == (try message.fieldBytes(version: 1)), "\(type)")
        let slab = slab(fields + attachment)
        let back = try type.decode(slab, 0..<slab.count, version: 1)
        #expect(back.message == message)
        #expect(back.attachment == fields.count..<slab.count, "\(type)")
    }

    private func encodedFields(_ message: some WireMessage) throws -> [UInt8] {
        let frame = try message.frame(operation: 1, version: 1, correlation: 2)
        return Array(frame.dropFirst(FrameHeader.byteCount))
    }

    @Test func `every truncation of every message is refused`() throws {
        for type in allMessages { try truncations(type) }
    }

    private func truncations<Message: WireMessage>(_ type: Message.Type) throws {
        let message = try type.filled()
        let whole =
            try encodedFields(message)
            + [UInt8](repeating: 0, count: message.attachmentBytes ?? 0)
        for length in 0..<whole.count {
            let cut = slab(Array(whole.prefix(length)))
            #expect(throws: WireError.self, "\(type) cut at \(length)") {
                _ = try type.decode(cut, 0..<length, version: 1)
            }
        }
        let longer = slab(whole + [0])
        #expect(throws: WireError.self, "\(type) with a byte too many") {
            _ = try type.decode(longer, 0..<longer.count, version: 1)
        }
    }

    @Test func `a message in the middle of a slab never reads its neighbour`() throws {
        let fields = try encodedFields(HelloRequest.filled())
        let slab = slab([9, 9] + fields + [9, 9])
        let back = try HelloRequest.decode(slab, 2..<(2 + fields.count), version: 1)
        #expect(try back.message == HelloRequest.filled())
        #expect(throws: WireError.self) {
            _ = try HelloRequest.decode(slab, 2..<(1 + fields.count), version: 1)
        }
    }

    @Test func `F-32 random bytes never trap, and what is accepted is written the same`() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<30_000 {
            let operation = Operation.allCases.randomElement(using: &random) ?? .hello
            let reply = Bool.random(using: &random)
            let count = Int.random(in: 0...120, using: &random)
            let small = Bool.random(using: &random)
            let bytes = (0..<count).map { _ in
                UInt8.random(in: 0...(small ? 3 : 255), using: &random)
            }
            let header = FrameHeader(
                operation: operation.rawValue | (reply ? FrameHeader.replyBit : 0), version: 1,
                correlation: 5, payloadBytes: count)
            let slab = slab(bytes)
            do throws(WireError) {
                let again = try MessageCatalog.transcode(header, slab, 0..<slab.count)
                let fields = (again ?? []).dropFirst(FrameHeader.byteCount)
                // Codes that this build does not know are read as INTERNAL_ERROR, so a reply may
                // come out with other bytes.
                let same = bytes.starts(with: fields) || reply
                #expect(same, "seed \(seed): \(operation) \(bytes)")
            } catch {
                continue  // Refused, as almost all random bytes must be.
            }
        }
    }

    @Test func `F-32 a count of 2^31 reserves nothing`() throws {
        let bytes = slab([2, 0, 0, 0, 0, 0x80, 0, 0, 0])
        #expect(throws: WireError.self) {
            _ = try ProduceRequest.decode(bytes, 0..<bytes.count, version: 1)
        }
        let honestButMissing = slab([2, 0, 0, 0, 0, 0, 0, 0x10, 0])
        let error = #expect(throws: WireError.self) {
            _ = try ProduceRequest.decode(honestButMissing, 0..<9, version: 1)
        }
        #expect(
            error == .truncated(field: "batches", at: 9, need: 4_096 * 24, have: 0))
        // The place counts from the message's first byte, wherever its frame lies.
        let behindAnother = slab(Array(repeating: 7, count: 5) + [2, 0, 0, 0, 0, 0, 0, 0x10, 0])
        let second = #expect(throws: WireError.self) {
            _ = try ProduceRequest.decode(behindAnother, 5..<14, version: 1)
        }
        #expect(second == error)
    }

    @Test func `every item says its smallest size truly`() throws {
        try smallest(OperationVersions.self)
        try smallest(RecoveryEvent.self)
        try smallest(DoctorFinding.self)
        try smallest(DoctorFigure.self)
        try smallest(TopicNameItem.self)
        try smallest(TopicIDItem.self)
        try smallest(TopicMetadata.self)
        try smallest(TopicSettingChange.self)
        try smallest(TopicSummary.self)
        try smallest(SettingDifference.self)
        try smallest(OffsetRange.self)
        try smallest(TopicSetting.self)
        try smallest(PartitionDescription.self)
        try smallest(ProduceEntry.self)
        try smallest(ProduceResult.self)
        try smallest(FetchEntry.self)
        try smallest(FetchResult.self)
        try smallest(ListOffsetsEntry.self)
        try smallest(ListOffsetsResult.self)
        try smallest(DeleteRecordsEntry.self)
        try smallest(DeleteRecordsResult.self)
        try smallest(OwnedPartition.self)
        try smallest(TopicNaming.self)
        try smallest(CommittedPosition.self)
        try smallest(AssignedPartition.self)
        try smallest(CommitEntry.self)
        try smallest(CommitResult.self)
        try smallest(GroupSummary.self)
        try smallest(GroupMemberLine.self)
        try smallest(GroupPartitionLine.self)
    }

    private func smallest<Item: WireItem>(_ type: Item.Type) throws {
        var meter = FieldMeter(version: 1)
        var item = Item()
        try item.fields(&meter)
        let count = meter.byteCount
        #expect(count == Item.bytesMin, "\(type)")
    }

    @Test func `an error reply ends after its message`() throws {
        for operation in Operation.allCases {
            try errorReply(MessageCatalog.messages(of: operation).reply)
        }
    }

    private func errorReply<Reply: WireReply>(_ type: Reply.Type) throws {
        let reply = Reply(error: .unsupportedVersion, message: "speak 1")
        let fields = try encodedFields(reply)
        #expect(fields == [0, 35, 0, 7] + Array("speak 1".utf8))
        let slab = slab(fields)
        let back = try type.decode(slab, 0..<slab.count, version: 1).message
        #expect(back.error == .unsupportedVersion)
        #expect(back.message == "speak 1")
    }

    @Test func `text that is not UTF-8 and a boolean of 2 are refused`() throws {
        let name = slab([0, 2, 0xC3, 0x28, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0])
        #expect(throws: WireError.self) {
            _ = try CreateTopicRequest.decode(name, 0..<name.count, version: 1)
        }
        let flag = slab([2])
        #expect(throws: WireError.self) {
            _ = try ListTopicsRequest.decode(flag, 0..<1, version: 1)
        }
    }

    @Test(arguments: [Int32.min, -1, 0, 1, 50_000, 50_001, .max])
    func `a topic has no number of partitions that cannot be`(partitions: Int32) throws {
        var topic = TopicMetadata()
        topic.partitions = partitions
        var reply = MetadataReply()
        reply.topics = [topic]
        let slab = ByteSlab(capacity: 1_024)
        try reply.encode(into: slab, version: 1)
        guard !(0...50_000).contains(partitions) else {
            #expect(try MetadataReply.decode(slab, 0..<slab.count, version: 1).message == reply)
            return
        }
        #expect(throws: WireError.self) {
            _ = try MetadataReply.decode(slab, 0..<slab.count, version: 1)
        }
    }

    @Test func `limits of strings hold in both directions`() throws {
        var request = CreateTopicRequest()
        request.name = String(repeating: "x", count: 250)
        #expect(throws: WireError.self) { _ = try request.frame(correlation: 1) }
        let bytes = slab([0, 250] + [UInt8](repeating: 120, count: 260))
        #expect(throws: WireError.self) {
            _ = try CreateTopicRequest.decode(bytes, 0..<bytes.count, version: 1)
        }
        let long = HelloReply(
            error: .internalError, message: String(repeating: "é", count: 2_000))
        #expect(long.message.utf8.count <= WireLimits.errorMessageBytesMax)
        _ = try long.frame(correlation: 1)
    }

    @Test func `the byte table has the hello's fields in order`() throws {
        let rows = try HelloRequest.rows(version: 1)
        #expect(
            rows.map(\.name).prefix(5) == [
                "magic", "versionMin", "versionMax", "features", "clientName",
            ])
        #expect(rows.map(\.offset) == [0, 4, 6, 8, 16, nil, nil, nil])
        #expect(try FetchReply.table(version: 1).contains("`partitions[].gaps[].from`"))
    }

    @Test func `the golden bytes of a ping and its reply do not change`() throws {
        let ping = try PingRequest().frame(correlation: 42)
        #expect(ping == [0, 0, 0, 12, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 42])
        var reply = PingReply()
        reply.wallMilliseconds = 0x0102_0304_0506_0708
        #expect(
            try reply.frame(correlation: 42) == [
                0, 0, 0, 24, 0x80, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 1, 2, 3, 4, 5,
                6, 7, 8,
            ])
    }
}
