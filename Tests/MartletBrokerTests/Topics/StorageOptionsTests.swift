import MartletConfiguration
import MartletStorage
import Testing

@testable import MartletBroker

/// What the storage makes of its configuration.
@Suite struct StorageOptionsTests {
    private func options(dirtyBytesMax: Int64?) throws -> StorageOptions {
        let configuration = BrokerConfiguration()
        return try StorageOptions(
            configuration, descriptors: DescriptorBudget(configuration, total: 1_024),
            dirtyBytesMax: dirtyBytesMax)
    }

    @Test func `written topics leave three quarters of what the kernel lets be dirty`() throws {
        let plenty = try options(dirtyBytesMax: 1 << 40)
        let unknown = try options(dirtyBytesMax: nil)
        for options in [plenty, unknown] {
            #expect(options.unsyncedWrittenBytesMax == 1 << 30)
            #expect(options.unsyncedWrittenPartitionBytesMax == 256 << 20)
            #expect(options.writtenSyncBytes == 32 << 20)
        }
        let little = try options(dirtyBytesMax: 128 << 20)
        #expect(little.unsyncedWrittenBytesMax == 32 << 20)
        #expect(little.unsyncedWrittenPartitionBytesMax == 32 << 20)
        #expect(little.writtenSyncBytes == 16 << 20)
        #expect(try options(dirtyBytesMax: 1).unsyncedWrittenBytesMax == 8 << 20)
    }
}
