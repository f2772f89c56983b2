#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "projectors/model/org_model.h"

namespace sluice::gateways {

// The entities as one caller may see them, as JSON array: names, keys, and the columns in the order
// of their ids, as `GET …/entities` and a stream's checkpoint have them. Written in pieces, because
// an organisation may have some 30 MB of it. Not thread-safe.
class EntitiesWriter {
 public:
  // `entities` must outlive the writer.
  explicit EntitiesWriter(std::span<const projectors::CallerEntity> entities)
      : entities_(entities) {}

  // Appends until `out` has `bytes`, which one column may go past, or the array is complete: then
  // true, and nothing more is appended.
  bool Write(size_t bytes, std::string* out);

 private:
  enum class Next { kArray, kEntity, kColumn, kNothing };

  // Appends the next column; false behind the last.
  bool WriteColumn(const projectors::CallerEntity& entity, std::string* out);

  std::span<const projectors::CallerEntity> entities_;
  Next next_ = Next::kArray;
  size_t entity_ = 0;
  size_t attribute_ = 0;
  bool first_column_ = true;
};

// The whole array.
[[nodiscard]] std::string EntitiesJson(std::span<const projectors::CallerEntity> entities);

}  // namespace sluice::gateways
