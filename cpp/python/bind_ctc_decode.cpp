// CTC decoding.
#include "ops/ctc_decode.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "python/bind.h"
#include "python/ctc_arrays.h"

namespace fastseq {
namespace {

template <class T>
py::array_t<T> row_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple bind_greedy(const char* function, const py::array& inputs, const py::array& input_lengths,
                      std::int64_t blank, int input) {
  return with_float_type(function, "logits", inputs, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    CtcFrames<T> call = {};
    read_frames(function, inputs, input_lengths, blank, input, call);
    CtcBestPaths paths;
    {
      const GilDropped dropped(static_cast<double>(inputs.size()));
      paths = ctc_greedy_decode(function, call);
    }
    py::array_t<std::int64_t> labels({call.batch, paths.longest}), starts({call.batch, paths.longest});
    std::int64_t *const to_labels = labels.mutable_data(), *const to_starts = starts.mutable_data();
    {
      const GilDropped dropped(static_cast<double>(labels.size()));
      paths.write(to_labels, to_starts);
    }
    return py::make_tuple(labels, row_array(paths.lengths), row_array(paths.scores), starts);
  });
}

// (batch, paths, longest) labels and starts, -1 beyond the length; (batch, paths) lengths, scores and totals.
// A path that is not there has length -1 and -inf; all of a sequence that is not sound have 0 and NaN.
py::tuple arrays_of(const CtcBeamSearch& search, std::int64_t count,
                    const std::vector<std::vector<CtcPath>>& found) {
  const std::int64_t batch = search.batch();
  std::size_t longest = 0;
  for (const auto& paths : found)
    for (const CtcPath& path : paths) longest = std::max(longest, path.labels.size());
  const auto width = static_cast<std::int64_t>(longest);
  py::array_t<std::int64_t> labels({batch, count, width}), starts({batch, count, width}),
      lengths({batch, count});
  py::array_t<double> scores({batch, count}), totals({batch, count});
  std::fill_n(labels.mutable_data(), labels.size(), std::int64_t{-1});
  std::fill_n(starts.mutable_data(), starts.size(), std::int64_t{-1});
  for (std::int64_t n = 0; n < batch; ++n) {
    const bool sound = search.is_sound(n);
    const auto& paths = found[static_cast<std::size_t>(n)];
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t at = n * count + k;
      const bool there = static_cast<std::size_t>(k) < paths.size();
      const CtcPath* path = there ? &paths[static_cast<std::size_t>(k)] : nullptr;
      const double absent = sound ? -std::numeric_limits<double>::infinity() : std::nan("");
      lengths.mutable_data()[at] = there ? static_cast<std::int64_t>(path->labels.size()) : sound ? -1 : 0;
      scores.mutable_data()[at] = there ? path->score : absent;
      totals.mutable_data()[at] = there ? path->total : absent;
      if (!there) continue;
      std::copy(path->labels.begin(), path->labels.end(), labels.mutable_data() + at * width);
      std::copy(path->starts.begin(), path->starts.end(), starts.mutable_data() + at * width);
    }
  }
  return py::make_tuple(labels, lengths, scores, totals, starts);
}

// A search that refuses to be used by two threads at once: the GIL is dropped while it works.
class BoundCtcBeamSearch {
 public:
  BoundCtcBeamSearch(const char* function, std::int64_t batch, std::int64_t classes, std::int64_t blank,
                     int input, std::int64_t beam_width, double token_threshold, double beam_threshold,
                     std::int64_t max_tokens, std::shared_ptr<const CtcScorer> scorer) {
    check_value(
        !scorer || scorer->classes() == classes, function, "tokens",
        [&] { return "be one for each of the " + std::to_string(classes) + " classes"; },
        [&] { return std::to_string(scorer->classes()); });
    CtcSearchOptions options;
    options.classes = classes;
    options.blank = blank_of(function, blank, classes);
    options.beam_width = beam_width;
    options.token_threshold = token_threshold;
    options.beam_threshold = beam_threshold;
    options.max_tokens = max_tokens;
    search_ =
        std::make_unique<CtcBeamSearch>(batch, static_cast<CtcInput>(input), options, std::move(scorer));
  }

  void push(const char* function, const py::array& inputs, const py::array& input_lengths) {
    const Alone alone(*this, function);
    with_float_type(function, "logits", inputs, [&](auto zero) {
      using T = decltype(zero);
      const CtcSearchOptions& options = search_->options();
      check_value(
          inputs.ndim() == 3 && inputs.shape(0) == search_->batch() && inputs.shape(2) == options.classes,
          function, "logits",
          [&] {
            return "have shape (" + std::to_string(search_->batch()) + ", steps, " +
                   std::to_string(options.classes) + ")";
          },
          [&] { return shape_text(shape_of(inputs)); });
      CtcFrames<T> call = {};
      read_frames(function, inputs, input_lengths, options.blank, static_cast<int>(search_->input()), call);
      const py::gil_scoped_release dropped;
      search_->push(function, call);
    });
  }

  py::tuple paths(const char* function, std::int64_t count, bool finished) {
    const Alone alone(*this, function);
    return arrays_of(*search_, count, search_->paths(count, finished));
  }

  void reset(const char* function) {
    const Alone alone(*this, function);
    search_->reset();
  }

 private:
  class Alone {
   public:
    Alone(BoundCtcBeamSearch& search, const char* function) : busy_(search.busy_) {
      check_runtime(!busy_.exchange(true), function, "the search", "be used by one thread at a time",
                    "a second");
    }
    ~Alone() { busy_ = false; }
    Alone(const Alone&) = delete;
    Alone& operator=(const Alone&) = delete;

   private:
    std::atomic<bool>& busy_;
  };

  std::unique_ptr<CtcBeamSearch> search_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_ctc_decode(py::module_& m) {
  m.def("ctc_greedy_decode", &bind_greedy, py::arg("function"), py::arg("logits"), py::arg("logit_lengths"),
        py::arg("blank"), py::arg("input"));
  py::class_<CtcScorer, std::shared_ptr<CtcScorer>>(m, "CtcScorer")
      .def(py::init([](const char* function, std::vector<std::string> tokens, std::string delimiter,
                       std::shared_ptr<Ngram> language_model, bool by_token, double lm_weight,
                       double unknown_score, double token_bonus, double word_bonus,
                       std::vector<std::pair<std::string, double>> hotwords,
                       std::optional<std::vector<std::string>> words) {
             const bool closed = words.has_value();
             return std::make_shared<CtcScorer>(
                 function, CtcScorerOptions{std::move(tokens), std::move(delimiter),
                                            std::move(language_model), by_token, lm_weight, unknown_score,
                                            token_bonus, word_bonus, std::move(hotwords), closed,
                                            closed ? std::move(*words) : std::vector<std::string>()});
           }),
           py::arg("function"), py::arg("tokens"), py::arg("delimiter"), py::arg("language_model"),
           py::arg("by_token"), py::arg("lm_weight"), py::arg("unknown_score"), py::arg("token_bonus"),
           py::arg("word_bonus"), py::arg("hotwords"), py::arg("words"));
  py::class_<BoundCtcBeamSearch>(m, "CtcBeamSearch")
      .def(py::init<const char*, std::int64_t, std::int64_t, std::int64_t, int, std::int64_t, double, double,
                    std::int64_t, std::shared_ptr<CtcScorer>>(),
           py::arg("function"), py::arg("batch"), py::arg("classes"), py::arg("blank"), py::arg("input"),
           py::arg("beam_width"), py::arg("token_threshold"), py::arg("beam_threshold"),
           py::arg("max_tokens"), py::arg("scorer"))
      .def("push", &BoundCtcBeamSearch::push, py::arg("function"), py::arg("logits"),
           py::arg("logit_lengths"))
      .def("paths", &BoundCtcBeamSearch::paths, py::arg("function"), py::arg("count"), py::arg("finished"))
      .def("reset", &BoundCtcBeamSearch::reset, py::arg("function"));
}

}  // namespace fastseq
