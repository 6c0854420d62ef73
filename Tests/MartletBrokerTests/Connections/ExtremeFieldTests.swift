import MartletFormat
import MartletSystem
import MartletTestSupport
import MartletWire
import Testing

/// Requests that are well formed and make no sense: names and ids that are there, and the largest and
/// smallest of all numbers. A sum that does not fit ends the process, and with it these tests.
@Suite(.timeLimit(.minutes(5))) struct ExtremeFieldTests {
    /// Topics, groups and members that a request may name.
    private struct Scene {
        let topic: String
        var groups: [String] = []
        var ids: [TopicID] = [.zero]
        var deliveries: [UInt64] = []
    }

    /// Fills the fields of a request.
    private struct FieldExtremes: FieldCoder, ~Copyable {
        let version: UInt16 = 1
        var random: SeededRandom
        let scene: Scene

        private mutating func any<Value>(_ values: [Value]) -> Value {
            values[random.below(values.count)]
        }

        private mutating func extreme<Number: FixedWidthInteger>() -> Number {
            any([
                .min, .min + 1, .max, .max - 1, 0, 0, 1, 1, 2, 3, 5, 20, 50, 100,
                Number(clamping: -1), Number(clamping: -2), Number(clamping: -3),
                Number(clamping: Int32.max), Number(clamping: Int64(1) << 40),
                Number(truncatingIfNeeded: random.next()),
            ])
        }

        mutating func bool(_ name: String, _ value: inout Bool, _ meaning: String) {
            value = random.chance(1, in: 2)
        }
        mutating func uint8(_ name: String, _ value: inout UInt8, _ meaning: String) {
            let most = name == "lane" ? 2 : 8
            value = random.chance(1, in: 10) ? extreme() : UInt8(random.below(most))
        }
        mutating func int16(_ name: String, _ value: inout Int16, _ meaning: String) {
            value = extreme()
        }
        mutating func uint16(_ name: String, _ value: inout UInt16, _ meaning: String) {
            value = extreme()
        }
        mutating func int32(_ name: String, _ value: inout Int32, _ meaning: String) {
            value = random.chance(2, in: 3) ? any([0, 0, 1, -1]) : extreme()
        }
        mutating func count(_ name: String, _ value: inout Int32, max: Int32, _ meaning: String) {
            value = any([.min, -1, 0, 1, 2, max, .max])
        }
        mutating func uint32(_ name: String, _ value: inout UInt32, _ meaning: String) {
            value = name == "recordsLength" ? 0 : extreme()
        }
        mutating func int64(_ name: String, _ value: inout Int64, _ meaning: String) {
            // Without calls of handlers their times are none.
            value = name.hasSuffix("Nanoseconds") && random.chance(3, in: 4) ? 0 : extreme()
        }
        mutating func uint64(_ name: String, _ value: inout UInt64, _ meaning: String) {
            value = random.chance(1, in: 2) ? any(scene.deliveries + [1]) : extreme()
        }
        mutating func identifier(_ name: String, _ value: inout TopicID, _ meaning: String) {
            value = any(scene.ids)
        }
        mutating func string(_ name: String, _ value: inout String, max: Int, _ meaning: String) {
            value = name == "group" ? any(scene.groups) : any(scene.groups + [scene.topic, ""])
        }
        mutating func optionalString(
            _ name: String, _ value: inout String?, max: Int, _ meaning: String
        ) {
            value = random.chance(1, in: 2) ? nil : any(scene.groups)
        }
        mutating func bytes(
            _ name: String, _ value: inout [UInt8], max: Int, _ meaning: String
        ) {
            value = Array(repeating: 255, count: random.chance(3, in: 4) ? 0 : 40)
        }
        mutating func array<Item: WireItem>(
            _ name: String, _ values: inout [Item], max: Int, _ meaning: String
        ) throws(WireError) {
            values = []
            // Counts of durations are checked first of all: mostly there are none.
            let hasNone = name == "buckets" && random.chance(3, in: 4)
            for _ in 0..<(hasNone ? 0 : any([0, 1, 1, 1, 2, 3])) {
                var item = Item()
                try item.fields(&self)
                values.append(item)
            }
        }
        mutating func item<Item: WireItem>(
            _ name: String, _ value: inout Item
        ) throws(WireError) {
            try value.fields(&self)
        }
    }

    /// Without those that take a topic or a group away: what is named is to be there.
    private static let operations = Operation.allCases.filter {
        ![.hello, .createTopic, .deleteTopic, .addPartitions, .produce, .deleteGroup].contains($0)
    }

    private static func frame<Message: WireRequest>(
        _ type: Message.Type, _ scene: Scene, seed: UInt64
    ) throws -> [UInt8] {
        var extremes = FieldExtremes(random: SeededRandom(seed: seed), scene: scene)
        var message = Message()
        try message.fields(&extremes)
        return try message.frame(correlation: 1)
    }

    /// All of it, in any order, and then a question that is answered when the broker has read all; what
    /// waits for something is not waited for.
    private static func send(
        _ client: RawClient, _ scene: Scene, _ random: inout SeededRandom
    ) throws {
        for operation in operations.shuffled(using: &random) {
            let type = MessageCatalog.messages(of: operation).request
            try client.send(try frame(type, scene, seed: random.next()))
        }
        try client.send(try PingRequest().frame(correlation: 2))
        while try client.receive().header.correlation != 2 {}
        client.close()
    }

    /// Groups of each kind over a topic with records, with a member each that has some of them.
    private static func makeScene(_ harness: BrokerHarness, _ round: Int) throws -> Scene {
        let client = try harness.hello()
        var scene = Scene(topic: "t\(round)")
        let topic = try harness.makeTopic(client, scene.topic, partitions: 2)
        for partition in 0..<2 as Range<Int32> {
            _ = try client.produce(topic, makeBatch(60), partition: partition)
        }
        scene.ids.append(topic)
        for kind in [0, 1, 3] as [UInt8] {
            let member = RawMember(client, UInt64(kind), group: "\(kind)-\(round)")
            #expect(try member.join([scene.topic], kind: kind) == .none)
            scene.groups.append(member.group)
            scene.ids.append(member.id)
            guard kind > 0 else { continue }
            var receive = ReceiveRequest()
            (receive.group, receive.member) = (member.group, member.id)
            (receive.maxRecords, receive.leaseMilliseconds) = (10, 60_000)
            scene.deliveries += try client.ask(receive).delivered.map(\.delivery)
        }
        return scene
    }

    @Test func `no number of any request ends the broker`() throws {
        let harness = try BrokerHarness()
        var random = SeededRandom(seed: 1)
        for round in 0..<12 {
            let scene = try Self.makeScene(harness, round)
            for _ in 0..<30 { try Self.send(try harness.hello(), scene, &random) }
        }
        try harness.stop()
    }
}
