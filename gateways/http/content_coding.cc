#include "gateways/http/content_coding.h"

#include <brotli/decode.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "schemas/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kOutBytes = size_t{32} << 10;
constexpr int kAutoHeader = 15 + 32;  // zlib or gzip, as the body has it
constexpr int kGzipHeader = 15 + 16;

absl::Status Damaged(std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
               fmt::format("the body's content encoding {}", what));
}

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
  ZlibDecoder() { ready_ = inflateInit2(&stream_, kAutoHeader) == Z_OK; }
  ~ZlibDecoder() override {
    if (ready_) {
      inflateEnd(&stream_);
    }
  }
  ZlibDecoder(const ZlibDecoder&) = delete;
  ZlibDecoder& operator=(const ZlibDecoder&) = delete;

  absl::Status Feed(std::string_view bytes, Sink sink) override {
    if (!ready_) {
      return absl::ResourceExhaustedError("no memory to decompress a body");
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    std::array<char, kOutBytes> out;
    do {
      if (ended_) {
        return stream_.avail_in == 0 ? absl::OkStatus() : Damaged("has more bytes behind its end");
      }
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = out.size();
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return Damaged("is damaged");
      }
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
  z_stream stream_{};
  bool ready_ = false;
  bool ended_ = false;
};

class BrotliDecoder final : public ContentDecoder {
 public:
  BrotliDecoder() : state_(BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)) {}
  ~BrotliDecoder() override { BrotliDecoderDestroyInstance(state_); }
  BrotliDecoder(const BrotliDecoder&) = delete;
  BrotliDecoder& operator=(const BrotliDecoder&) = delete;

  absl::Status Feed(std::string_view bytes, Sink sink) override {
    if (state_ == nullptr) {
      return absl::ResourceExhaustedError("no memory to decompress a body");
    }
    const auto* next_in = reinterpret_cast<const uint8_t*>(bytes.data());
    size_t left = bytes.size();
    std::array<uint8_t, kOutBytes> out;
    auto result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
    while (left > 0 || result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT) {
      if (ended_) {
        return left == 0 ? absl::OkStatus() : Damaged("has more bytes behind its end");
      }
      uint8_t* next_out = out.data();
      size_t room = out.size();
      result = BrotliDecoderDecompressStream(state_, &left, &next_in, &room, &next_out, nullptr);
      if (result == BROTLI_DECODER_RESULT_ERROR) {
        return Damaged("is damaged");
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
  BrotliDecoderState* const state_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ContentDecoder>> ContentDecoder::For(std::string_view encoding) {
  std::string name(encoding);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.empty() || name == "identity") {
    return std::make_unique<PlainDecoder>();
  }
  if (name == "gzip" || name == "x-gzip" || name == "deflate") {
    return std::make_unique<ZlibDecoder>();
  }
  if (name == "br") {
    return std::make_unique<BrotliDecoder>();
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
  const int result = deflate(&stream, Z_FINISH);
  out.resize(result == Z_STREAM_END ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

}  // namespace sluice::gateways
