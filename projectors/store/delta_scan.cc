#include <fmt/format.h>
#include <rocksdb/db.h>

#include <string>

#include "projectors/store/rocks_snapshot.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// What one scan may bring into the block cache. A reader that goes on is loading a bucket whole,
// which would push out what everybody reads often.
constexpr size_t kCachedBytesMax = 16 << 20;
constexpr size_t kBucketBytes = 16;
constexpr size_t kDeltaKeyBytes = kBucketBytes + 12;

class DeltaScan final : public DeltaIterator {
 public:
  DeltaScan(const OrgDb& db, const rocksdb::Snapshot* snapshot, BucketKey bucket, Position after,
            Offset horizon)
      : db_(db), horizon_(horizon), upper_(EncodeDeltaKey(bucket, {})), upper_slice_(upper_) {
    // Greater than every key of the bucket (offsets are not negative), below the next bucket's.
    upper_.replace(kBucketBytes, std::string::npos, kDeltaKeyBytes - kBucketBytes, '\xff');
    upper_slice_ = rocksdb::Slice(upper_);
    options_.snapshot = snapshot;
    options_.iterate_upper_bound = &upper_slice_;
    options_.prefix_same_as_start = true;
    options_.adaptive_readahead = true;
    std::string from = EncodeDeltaKey(bucket, after);
    if (after.offset < Offset(0)) {
      from.replace(kBucketBytes, std::string::npos, kDeltaKeyBytes - kBucketBytes, '\0');
    } else {
      from.push_back('\0');  // the key after
    }
    Open(from);
    Settle();
  }

  bool Valid() const override { return valid_; }
  const DeltaView& op() const override { return view_; }
  absl::Status status() const override { return status_; }

  void Next() override {
    if (!valid_) {
      return;
    }
    bytes_read_ += kDeltaKeyBytes + it_->value().size();
    it_->Next();
    if (options_.fill_cache && bytes_read_ > kCachedBytesMax && it_->Valid()) {
      options_.fill_cache = false;
      Open(it_->key().ToString());
    }
    Settle();
  }

 private:
  void Open(const std::string& from) {
    it_.reset(db_.db().NewIterator(options_, db_.deltas()));
    it_->Seek(from);
  }

  // Decodes the operation that the iterator stands on. Old removals are not passed over here: there
  // may be millions of them, and who reads counts what a step passes over.
  void Settle() {
    valid_ = false;
    if (it_->Valid()) {
      const rocksdb::Slice key = it_->key();
      const rocksdb::Slice value = it_->value();
      auto decoded = DecodeDeltaKey({key.data(), key.size()});
      if (!decoded.ok()) {
        status_ = db_.Note(Annotate(decoded.status(), What()));
        return;
      }
      view_.position = decoded->position;
      const absl::Status valid = DecodeDelta({value.data(), value.size()}, &view_);
      if (!valid.ok()) {
        status_ = db_.Note(Annotate(valid, What()));
        return;
      }
      view_.old = !view_.put && view_.position.offset <= horizon_;
      valid_ = true;
      return;
    }
    if (!it_->status().ok()) {
      status_ = db_.Note(FromRocks(it_->status(), What()));
    }
  }

  std::string What() const { return fmt::format("scanning deltas of store {}", db_.path()); }

  const OrgDb& db_;
  const Offset horizon_;
  std::string upper_;
  rocksdb::Slice upper_slice_;
  rocksdb::ReadOptions options_;
  std::unique_ptr<rocksdb::Iterator> it_;
  size_t bytes_read_ = 0;
  bool valid_ = false;
  DeltaView view_;
  absl::Status status_;
};

}  // namespace

std::unique_ptr<DeltaIterator> RocksSnapshot::Scan(BucketKey bucket, Position after) const {
  return std::make_unique<DeltaScan>(*db_, snapshot_, bucket, after, applied_.horizon);
}

}  // namespace sluice::projectors
