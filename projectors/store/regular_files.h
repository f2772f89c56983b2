#pragma once

#include <memory>

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace sluice::projectors {

// RocksDB's environment, but that it opens nothing that is no regular file: a pipe in the place of
// a table would hold up for ever whoever opens it, and a folder would fail as if the disk did. Such
// a file is damage (rocksdb::Status::Corruption). Must outlive the databases. Thread-safe.
[[nodiscard]] std::unique_ptr<rocksdb::Env> NewRegularFilesEnv();

}  // namespace sluice::projectors
