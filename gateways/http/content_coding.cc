#include "gateways/http/content_coding.h"

#include <brotli/decode.h>
#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "gateways/http/negotiation.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kOutBytes = size_t{32} << 10;
constexpr int kAutoHeader = 15 + 32;  // zlib or gzip, as the body has it
constexpr int kGzipHeader = 15 + 16;
constexpr size_t kGzipBytesMin = 1024;  // smaller answers gain nothing

absl::Status Damaged(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("the body's content encoding {}", what));
}

absl::Status TooBusy() {
  return Error(absl::StatusCode::kUnavailable, "too_busy",
               "this server has no memory left to decompress the body with: try again later, or "
               "send it with a smaller window (brotli --lgwin=18) or as gzip");
}

// The memory of a decoder. Its libraries take it as a body says: asked for before it is there, so
// that what many bodies take together never passes the listener's budget.
class DecoderMemory {
 public:
  explicit DecoderMemory(ContentDecoder::MayHold may_hold) : may_hold_(std::move(may_hold)) {}
  DecoderMemory(const DecoderMemory&) = delete;
  DecoderMemory& operator=(const DecoderMemory&) = delete;

  // `self` is a DecoderMemory, as the libraries' "opaque" is.
  static void* Allocate(void* self, size_t size) {
    return static_cast<DecoderMemory*>(self)->Take(size);
  }
  static void* AllocateItems(void* self, unsigned int items, unsigned int size) {
    return Allocate(self, size_t{items} * size);
  }
  static void Free(void* self, void* address) {
    static_cast<DecoderMemory*>(self)->GiveBack(address);
  }

  bool refused() const { return refused_; }

 private:
  // Before each block: its size, in as many bytes as keep the block aligned.
  static constexpr size_t kHeader = alignof(std::max_align_t);
  static_assert(sizeof(size_t) <= kHeader);

  void* Take(size_t size) {
    const size_t whole = size + kHeader;
    if (!may_hold_(bytes_ + whole)) {
      refused_ = true;
      return nullptr;
    }
    void* const block = std::malloc(whole);
    if (block == nullptr) {
      refused_ = true;
      (void)may_hold_(bytes_);
      return nullptr;
    }
    bytes_ += whole;
    std::memcpy(block, &whole, sizeof(whole));
    return static_cast<char*>(block) + kHeader;
  }

  void GiveBack(void* address) {
    if (address == nullptr) {
      return;
    }
    void* const block = static_cast<char*>(address) - kHeader;
    size_t whole = 0;
    std::memcpy(&whole, block, sizeof(whole));
    std::free(block);
    bytes_ -= whole;
    (void)may_hold_(bytes_);
  }

  const ContentDecoder::MayHold may_hold_;
  size_t bytes_ = 0;
  bool refused_ = false;
};

class PlainDecoder final : public ContentDecoder {
 public:
  absl::Status Feed(std::string_view bytes, Sink sink) override {
    (void)sink(bytes);
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }
};

class ZlibDecoder final : public ContentDecoder {
 public:
  explicit ZlibDecoder(MayHold may_hold) : memory_(std::move(may_hold)) {
    stream_.zalloc = &DecoderMemory::AllocateItems;
    stream_.zfree = &DecoderMemory::Free;
    stream_.opaque = &memory_;
    ready_ = inflateInit2(&stream_, kAutoHeader) == Z_OK;
  }
  ~ZlibDecoder() override {
    if (ready_) {
      inflateEnd(&stream_);
    }
  }
  ZlibDecoder(const ZlibDecoder&) = delete;
  ZlibDecoder& operator=(const ZlibDecoder&) = delete;

  absl::Status Feed(std::string_view bytes, Sink sink) override {
    if (!ready_) {
      return TooBusy();
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    std::array<char, kOutBytes> out;
    // Goes on after the input is used up for as long as the output was full: what is left of it is
    // in the library, and no further piece may come that would bring it out.
    do {
      // A second member behind the first would be read by some and passed over by others.
      if (ended_) {
        return stream_.avail_in == 0 ? absl::OkStatus() : Damaged("has more bytes behind its end");
      }
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = out.size();
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return memory_.refused() ? TooBusy() : Damaged("is damaged");
      }
      // Before the sink: it may end the decoding, and Finish() must know all the same.
      ended_ = result == Z_STREAM_END;
      const size_t made = out.size() - stream_.avail_out;
      if (made > 0 && !sink(std::string_view(out.data(), made))) {
        return absl::OkStatus();
      }
    } while (stream_.avail_in > 0 || (stream_.avail_out == 0 && !ended_));
    return absl::OkStatus();
  }
  absl::Status Finish() override { return ended_ ? absl::OkStatus() : Damaged("ended early"); }

 private:
  DecoderMemory memory_;
  z_stream stream_{};
  bool ready_ = false;
  bool ended_ = false;
};

class BrotliDecoder final : public ContentDecoder {
 public:
  explicit BrotliDecoder(MayHold may_hold)
      : memory_(std::move(may_hold)),
        state_(BrotliDecoderCreateInstance(&DecoderMemory::Allocate, &DecoderMemory::Free,
                                           &memory_)) {}
  ~BrotliDecoder() override { BrotliDecoderDestroyInstance(state_); }
  BrotliDecoder(const BrotliDecoder&) = delete;
  BrotliDecoder& operator=(const BrotliDecoder&) = delete;

  absl::Status Feed(std::string_view bytes, Sink sink) override {
    if (state_ == nullptr) {
      return TooBusy();
    }
    const auto* next_in = reinterpret_cast<const uint8_t*>(bytes.data());
    size_t left = bytes.size();
    std::array<uint8_t, kOutBytes> out;
    auto result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
    // At least once, also without input: a piece before may have left output in the library.
    while (left > 0 || result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT) {
      if (ended_) {
        return left == 0 ? absl::OkStatus() : Damaged("has more bytes behind its end");
      }
      uint8_t* next_out = out.data();
      size_t room = out.size();
      result = BrotliDecoderDecompressStream(state_, &left, &next_in, &room, &next_out, nullptr);
      if (result == BROTLI_DECODER_RESULT_ERROR) {
        return memory_.refused() ? TooBusy() : Damaged("is damaged");
      }
      ended_ = result == BROTLI_DECODER_RESULT_SUCCESS;
      const size_t made = out.size() - room;
      if (made > 0 && !sink(std::string_view(reinterpret_cast<char*>(out.data()), made))) {
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override { return ended_ ? absl::OkStatus() : Damaged("ended early"); }

 private:
  DecoderMemory memory_;
  BrotliDecoderState* const state_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ContentDecoder>> ContentDecoder::For(std::string_view encoding,
                                                                    MayHold may_hold) {
  const std::string name = ToLower(encoding);
  if (name.empty() || name == "identity") {
    return std::make_unique<PlainDecoder>();
  }
  if (name == "gzip" || name == "x-gzip" || name == "deflate") {
    return std::make_unique<ZlibDecoder>(std::move(may_hold));
  }
  if (name == "br") {
    return std::make_unique<BrotliDecoder>(std::move(may_hold));
  }
  return Error(absl::StatusCode::kInvalidArgument, "unsupported_media_type",
               "Content-Encoding is gzip, deflate, br or none");
}

std::string Gzip(std::string_view text) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipHeader, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    return {};
  }
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  // In one step: the bound is what the worst text needs, so it is never called a second time.
  const int result = deflate(&stream, Z_FINISH);
  out.resize(result == Z_STREAM_END ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

void Compress(const HttpHead& head, HttpResponse& response) {
  if (response.body.size() < kGzipBytesMin) {
    return;
  }
  response.headers.emplace_back("Vary", "Accept-Encoding");
  if (head.head_only() ||
      MostWanted({"gzip", "identity"}, head.HeaderList("Accept-Encoding")) != 0) {
    return;
  }
  std::string smaller = Gzip(response.body);
  if (!smaller.empty() && smaller.size() < response.body.size()) {
    response.body = std::move(smaller);
    response.headers.emplace_back("Content-Encoding", "gzip");
  }
}

}  // namespace sluice::gateways
