"""What the paper may cite: works that the course stands on. Only those that the text cites are printed."""

REFERENCES = {  # key: (authors, title, where it appeared, year)
    "yang2023": (["Yang, Jiancheng", "Shi, Rui", "Wei, Donglai", "Liu, Zequan", "Zhao, Lin", "Ke, Bilian",
                  "Pfister, Hanspeter", "Ni, Bingbing"],
                 "MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image classification",
                 "Scientific Data 10, 41", 2023),
    "aldhabyani2020": (["Al-Dhabyani, Walid", "Gomaa, Mohammed", "Khaled, Hussien", "Fahmy, Aly"],
                       "Dataset of breast ultrasound images", "Data in Brief 28, 104863", 2020),
    "kermany2018": (["Kermany, Daniel S.", "Goldbaum, Michael", "Cai, Wenjia", "Valentim, Carolina C. S.",
                     "Liang, Huiying", "Baxter, Sally L."],
                    "Identifying medical diagnoses and treatable diseases by image-based deep learning",
                    "Cell 172(5), 1122-1131", 2018),
    "he2016": (["He, Kaiming", "Zhang, Xiangyu", "Ren, Shaoqing", "Sun, Jian"],
               "Deep residual learning for image recognition", "CVPR, 770-778", 2016),
    "chen2020": (["Chen, Ting", "Kornblith, Simon", "Norouzi, Mohammad", "Hinton, Geoffrey"],
                 "A simple framework for contrastive learning of visual representations", "ICML", 2020),
    "he2020": (["He, Kaiming", "Fan, Haoqi", "Wu, Yuxin", "Xie, Saining", "Girshick, Ross"],
               "Momentum contrast for unsupervised visual representation learning", "CVPR, 9729-9738", 2020),
    "loshchilov2019": (["Loshchilov, Ilya", "Hutter, Frank"], "Decoupled weight decay regularization", "ICLR", 2019),
    "guo2017": (["Guo, Chuan", "Pleiss, Geoff", "Sun, Yu", "Weinberger, Kilian Q."],
                "On calibration of modern neural networks", "ICML", 2017),
    "efron1993": (["Efron, Bradley", "Tibshirani, Robert J."], "An introduction to the bootstrap", "Chapman & Hall",
                  1993),
    "wilson1927": (["Wilson, Edwin B."], "Probable inference, the law of succession, and statistical inference",
                   "Journal of the American Statistical Association 22(158), 209-212", 1927),
    "newcombe1998": (["Newcombe, Robert G."],
                     "Interval estimation for the difference between independent proportions: comparison of eleven "
                     "methods", "Statistics in Medicine 17(8), 873-890", 1998),
    "hendrycks2019": (["Hendrycks, Dan", "Dietterich, Thomas"],
                      "Benchmarking neural network robustness to common corruptions and perturbations", "ICLR", 2019),
}


def references() -> str:
    """All of them as the YAML that Typst reads (hayagriva)."""
    lines = []
    for key, (authors, title, where, year) in REFERENCES.items():
        names = ", ".join(f"'{name}'" for name in authors)
        lines += [f"{key}:", "  type: article", f"  title: '{{{title}}}'", f"  author: [{names}]", f"  date: {year}",
                  "  parent:", "    type: periodical", f"    title: '{where}'"]
    return "\n".join(lines)
