#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "projectors/provisioning/directory.h"
#include "schemas/sluice/v1/definitions.pb.h"

namespace sluice::projectors {

// To which entities and attributes the ids of an organisation's incarnation were given, by whatever
// history. One history gives none twice; rows and change sets name them by these ids alone, so
// where two histories gave one id to two of them, the rows of both cannot be told apart. Not
// thread-safe.
class GivenIds {
 public:
  // `fresh`: told since the last epoch was declared. What was decided of older ones stands.
  void Add(const std::string& org, uint32_t incarnation, const v1::EntitySchema& schema,
           bool fresh);

  // The entry's schemas that lack something which an id of their entity was given to, with it, as
  // removed: from these no id is given again.
  [[nodiscard]] std::vector<v1::EntitySchema> Incomplete(const OrgEntry& entry) const;

  // For people, one text for each id that was given twice, at least once of them since the last
  // epoch; empty where there is none.
  [[nodiscard]] std::vector<std::string> GivenTwice(const std::string& org,
                                                    uint32_t incarnation) const;

 private:
  struct Id {
    uint32_t entity = 0;
    uint32_t attribute = 0;  // 0: the entity's own
    bool type = false;       // what the attribute is, not what it is called; of an entity, its key
    friend auto operator<=>(const Id&, const Id&) = default;
  };
  using Meanings = std::map<std::string, bool, std::less<>>;  // -> was it given since?

  struct Given {
    std::map<Id, Meanings> ids;
    std::map<uint32_t, uint32_t> next;  // entity -> the id that it gives next
  };

  static v1::EntitySchema Complete(const Given& given, v1::EntitySchema schema);

  // By organisation and incarnation.
  std::map<std::pair<std::string, uint32_t>, Given> given_;
};

}  // namespace sluice::projectors
